"""A GGUF file in llama.cpp itself: tokens as the model was trained to read them, weights in place.

Needs the package xllamacpp, which carries llama.cpp; without it nothing of this is tried.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from models.tiny_families import FAMILIES, ask, make_family

from stepladder.exports import export
from stepladder.exports.gguf_file import write_gguf
from stepladder.exports.llama_cpp import LlamaCppModel
from stepladder.models.local import LocalProvider

pytest.importorskip("xllamacpp")
pytest.importorskip("torch")
pytestmark = pytest.mark.slow

ASKED = [ask(text, max_output_tokens=8) for text in ("x  7\n\n  3", "Größe 東京", "one two")]


def said(model: object) -> list[str]:
    return [answer.text for _, answer in sorted(model.generate(ASKED), key=lambda one: one[0])]  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_answers_as_here(family: str, tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model", family)
    write_gguf(folder, tmp_path / "model.gguf", "f16", {"name": family})
    here = LocalProvider(tmp_path, exact=True)
    expected = said(here.model(f"local:{folder}"))
    here.close()
    found = said(LlamaCppModel("there", tmp_path / "model.gguf", 512))
    alike = sum(a == b for a, b in zip(expected, found, strict=True))
    assert alike >= 2, (expected, found)  # rounding may decide one of them


def test_labels_are_kept_to_by_a_grammar(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model")
    write_gguf(folder, tmp_path / "model.gguf", "q8_0", {"name": "labels"})
    model = LlamaCppModel("there", tmp_path / "model.gguf", 512)
    [(_, answer)] = model.generate([ask("which?", choices=('red "wine"', "blue\n"))])
    assert answer.text in ('red "wine"', "blue\n", "blue")


def test_an_export_is_checked_by_it(tuned: Path, tmp_path: Path) -> None:
    done = export(tuned, "gguf", tmp_path / "out")
    assert done.asked_by.startswith("llama.cpp")
    assert done.check.passed
