"""The template for Ollama, filled in by the template language that Ollama has: Go's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from debian_packages import installed

from stepladder.exports.modelfile import ollama_template
from stepladder.models.local.tokenizer import load_tokenizer
from stepladder.models.local.weights import base_folder

pytest.importorskip("transformers")

SYSTEMS = ("", 'Sort <mails> & "quotes".', "é 🙂\nin two lines")
PROMPTS = ("hi", "a <b> & {{ .System }} }}\n\n  x")


def go() -> str:
    """Go, installed where root may and it is missing."""
    found = installed(lambda: shutil.which("go"), "golang-go")
    if found is None and os.environ.get("CI"):
        pytest.fail("Ollama's template language must be asked: install golang-go")
    if found is None:
        pytest.skip("Go is not installed, and cannot be without root: apt-get install golang-go")
    return found


@pytest.mark.slow
@pytest.mark.network
def test_it_puts_round_a_turn_what_the_models_own_template_does(tmp_path: Path) -> None:
    folder = base_folder("smollm2-135m-instruct")
    tokenizer = load_tokenizer(folder).tokenizer
    cases = [{"System": system, "Prompt": prompt} for system in SYSTEMS for prompt in PROMPTS]
    done = subprocess.run(
        [go(), "run", str(Path(__file__).with_name("modelfile.go"))],
        input=json.dumps({"template": ollama_template(folder), "cases": cases}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOCACHE": str(tmp_path / "go"), "GO111MODULE": "off"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        tokenizer.apply_chat_template(
            [{"role": "system", "content": one["System"]}] * bool(one["System"])
            + [{"role": "user", "content": one["Prompt"]}],
            tokenize=False,
            add_generation_prompt=True,
        )
        for one in cases
    ]
