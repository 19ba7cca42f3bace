"""The encoder on OpenVINO says what the same weights say in torch, alone as in company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from encoding import HEADS, SIZE, make_encoder, use_encoder

from stepladder.encoders.running import (
    ENCODER_FILE,
    Files,
    encoder_files,
    open_tokenizer,
    run,
    vectors,
)
from stepladder.errors import StepladderError

WORDS = ["card", "gone", "money", "back"]
TEXTS = ["card gone", "money back " * 30, "", "unheard of", "card " * 700]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = make_encoder(tmp_path / "encoder", WORDS)
    use_encoder(found, monkeypatch)
    return found


def test_hidden_states_are_those_of_torch(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from stepladder.trainers.encoder_model import open_model, padded

    files = Files(folder / "model.safetensors", folder / "tokenizer.json", HEADS)
    model = open_model(files, 0.0).eval()
    ids = [one.ids for one in open_tokenizer().encode_batch(TEXTS[:4])]
    tokens, mask = padded(ids)
    with torch.no_grad():
        theirs = model(input_ids=tokens, attention_mask=mask).last_hidden_state.numpy()
    for rows, ours in run(ids, "hidden"):
        for row, states in zip(rows, ours, strict=True):
            n = len(ids[row])
            one, other = states[:n], theirs[row, :n]
            cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1)
            assert (cosines / np.linalg.norm(other, axis=1)).min() > 0.999  # bfloat16 here or there


def test_a_vector_is_of_length_one_and_the_same_in_any_company(folder: Path) -> None:
    together = vectors(TEXTS)
    assert together.shape == (len(TEXTS), SIZE)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    for at, text in enumerate(TEXTS):
        assert float(vectors([text])[0] @ together[at]) > 0.999
    assert vectors([]).shape[0] == 0


def test_what_stands_late_in_a_long_text_counts(folder: Path) -> None:
    early, both = vectors(["card " * 600, "card " * 600 + "money " * 600])
    assert float(early @ both) < 0.99


def test_an_artifact_made_with_another_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ENCODER_FILE).write_text('{"base": "older", "sha256": "abc"}')
    with pytest.raises(StepladderError, match="'older'") as told:
        encoder_files(tmp_path)
    assert "climb again" in told.value.hint
