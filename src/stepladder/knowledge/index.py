"""Passages as an artifact that is searched: a folder of plain files, named by their hash.

    index.json          how it was made, and how much is in it
    texts.txt           the documents' texts, one after the other, UTF-8
    documents.jsonl     id, source, title and hash of each; `documents-at.npy`: where its line is
    passages.npy        of each: document, number in it, first character, first and last byte
    passage-keys.npy    of each: a hash of its id and text
    words*              BM25 (`lexical.py`)
    embeddings.npy      a vector of each (`dense.py`), `graph*.npy` when there are many
    tokens*.npy         vectors of the words of each (`late.py`), for the reranker

The whole is written beside the other artifacts and renamed when it is complete, so a process that
is killed leaves no half of an index. Making an index of the same documents again gives the one that
is there; of changed ones, only what changed is encoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Json
from ..errors import StepladderError, StoreError, TaskError
from ..solvers.artifact import keep_folder, open_artifact
from .dense import GRAPH_FROM, VECTORS, Graph, nearest, write_graph, write_vectors
from .documents import Document
from .encoder import encode, encoder_name
from .late import TOKENS_UP_TO, TokenVectors, write_tokens
from .lexical import load_words, rank_by_words, write_words
from .passages import Passage, check_sizes, cut

__all__ = ["Index", "IndexShape", "build_index", "open_index", "write_whole"]

FORMAT = 1
_MOST_KNOWN = 100_000  # documents whose names stay in memory
Tell = Callable[[str, Mapping[str, Json]], None]


@dataclass(frozen=True)
class IndexShape:
    """How an index is made: sizes of passages in words and marks, and what can be searched.

    `k1` and `b` are BM25's. Without `dense` there are no vectors, and no encoder is needed. With
    more than `graph_from` passages, vectors are searched through a graph; up to `tokens_up_to`,
    vectors of words are stored for the reranker, which otherwise computes them when it needs them.
    """

    size: int = 160
    overlap: int = 32
    k1: float = 1.2
    b: float = 0.75
    dense: bool = True
    graph_from: int = GRAPH_FROM
    tokens_up_to: int = TOKENS_UP_TO

    def __post_init__(self) -> None:
        check_sizes(self.size, self.overlap)


def build_index(
    documents: Iterable[Document],
    shape: IndexShape,
    artifacts: Path,
    tell: Tell = lambda event, fields: None,
) -> str:
    """The hash of the artifact with the documents' passages; made unless it is there already.

    Raises:
        TaskError: no document has a word in it.
        StoreError: the folder cannot be written.
        MissingExtra, ModelError: as the encoder and the libraries of the index do.
    """
    with _unfinished(artifacts) as folder:
        corpus = _write_passages(documents, shape, folder)
        latest = artifacts / f"index-{_shape_key(shape)}.json"
        last, before = _latest(latest, artifacts)
        if before is not None and last == corpus:
            return before.name
        _write_searches(shape, folder, artifacts, before, tell)
        name = keep_folder(artifacts, folder)
        write_whole(latest, json.dumps({"corpus": corpus, "artifact": name}))
        return name


@lru_cache(maxsize=8)
def open_index(artifacts: Path, name: str) -> Index:
    """The index, verified once per process; its parts are read when they are first needed.

    Raises:
        StepladderError: it is not there, or was changed.
    """
    return Index(open_artifact(artifacts, name))


class Index:
    """An index that is open. Its arrays are mapped from the disk; threads may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if self.facts.get("format") != FORMAT:
            raise StepladderError(
                f"the index {folder.name!r} is of format {self.facts.get('format')}, and this "
                f"version reads {FORMAT}",
                hint="make it again, or use the version that made it",
            )
        self.shape = IndexShape(**self.facts["shape"])
        self._rows = np.asarray(np.load(folder / "passages.npy", mmap_mode="r"))
        self._at = np.load(folder / "documents-at.npy", mmap_mode="r")
        self._texts = np.asarray(np.memmap(folder / "texts.txt", dtype=np.uint8, mode="r"))
        named = np.memmap(folder / "documents.jsonl", dtype=np.uint8, mode="r")
        self._documents = np.asarray(named)
        self._known: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def words(self) -> Any:
        """The BM25 index."""
        return load_words(self.folder)

    @cached_property
    def vectors(self) -> Any:
        """One row per passage: float32 in memory, float16 on the disk where there is a graph."""
        mapped = np.load(self.folder / VECTORS, mmap_mode="r")
        if len(self) > self.shape.graph_from:
            return np.asarray(mapped)
        return mapped.astype(np.float32)

    @cached_property
    def tokens(self) -> TokenVectors | None:
        """Vectors of the words of each passage, where they are stored."""
        return TokenVectors(self.folder) if len(self) <= self.shape.tokens_up_to else None

    @cached_property
    def _graph(self) -> Graph | None:
        return Graph(self.folder, self.vectors) if len(self) > self.shape.graph_from else None

    def by_words(self, queries: Sequence[str], k: int) -> list[tuple[Any, Any]]:
        """Per query, rows and BM25 scores of the best `k` passages."""
        return rank_by_words(self.words, queries, k)

    def by_meaning(self, queries: Sequence[str], k: int) -> list[tuple[Any, Any]]:
        """Per query, rows and cosines of the nearest `k` passages."""
        vectors = encode(queries)
        if self._graph is not None:
            return self._graph.nearest(vectors, k)
        return nearest(self.vectors, vectors, k)

    def passages(self, rows: Iterable[int]) -> list[Passage]:
        """The passages of these rows."""
        return [self._passage(int(row)) for row in rows]

    def texts(self, rows: Iterable[int]) -> Iterator[str]:
        """Only the texts, as fast as they are read from the disk."""
        for row in rows:
            _, _, _, first, last = self._rows[row]
            yield self._texts[first:last].tobytes().decode("utf-8")

    def _passage(self, row: int) -> Passage:
        number, order, start, first, last = (int(value) for value in self._rows[row])
        document = self._document(number)
        text = self._texts[first:last].tobytes().decode("utf-8")
        return Passage(
            f"{document['id']}#{order}",
            document["id"],
            document["title"],
            document["source"],
            text,
            start,
            start + len(text),
        )

    def _document(self, number: int) -> dict[str, Any]:
        found = self._known.get(number)
        if found is None:
            line = self._documents[self._at[number] : self._at[number + 1]].tobytes()
            found = json.loads(line)
            if len(self._known) >= _MOST_KNOWN:
                self._known = {}
            self._known[number] = found
        return found


def _write_passages(documents: Iterable[Document], shape: IndexShape, folder: Path) -> str:
    """Write texts, documents and passages; the hash of all documents."""
    corpus = hashlib.sha256()
    rows, keys, at = [], [], [0]
    base = 0
    with (
        (folder / "texts.txt").open("wb") as texts,
        (folder / "documents.jsonl").open("wb") as names,
    ):
        for number, document in enumerate(documents):
            corpus.update(json.dumps([document.id, document.source, document.sha256]).encode())
            named = asdict(document)
            del named["text"]
            at.append(at[-1] + names.write(_json_line(named)))
            texts.write(_bytes(document.text))
            character = place = 0
            for order, passage in enumerate(cut(document, shape.size, shape.overlap)):
                place += len(_bytes(document.text[character : passage.start]))
                character = passage.start
                first = base + place
                rows.append(
                    (number, order, passage.start, first, first + len(_bytes(passage.text)))
                )
                keys.append(_key(f"{passage.id}\0{passage.title}\0{passage.text}"))
            base += len(_bytes(document.text))
    if not rows:
        raise TaskError("no document has a word in it", hint="look at the files of 'knowledge'")
    np.save(folder / "passages.npy", np.array(rows, dtype=np.int64))
    np.save(folder / "passage-keys.npy", np.array(keys, dtype=np.uint64))
    np.save(folder / "documents-at.npy", np.array(at, dtype=np.int64))
    facts = {"format": FORMAT, "shape": asdict(shape), "encoder": None, "passages": len(rows)}
    facts |= {"documents": len(at) - 1, "corpus": corpus.hexdigest()}
    write_whole(folder / "index.json", json.dumps(facts, indent=1))
    return corpus.hexdigest()


def _write_searches(
    shape: IndexShape, folder: Path, artifacts: Path, before: Path | None, tell: Tell
) -> None:
    index = Index(folder)
    count = len(index)
    tell("indexing", {"passages": count, "part": "words"})
    write_words(index.texts(range(count)), folder, shape.k1, shape.b)
    if not shape.dense:
        return
    tell("indexing", {"passages": count, "part": "vectors"})
    write_vectors(index.texts(range(count)), count, folder, artifacts)
    facts = index.facts | {"encoder": encoder_name()}
    write_whole(folder / "index.json", json.dumps(facts, indent=1))
    keys = np.load(folder / "passage-keys.npy")
    if count > shape.graph_from:
        tell("indexing", {"passages": count, "part": "graph"})
        write_graph(keys, folder, before)
    if count <= shape.tokens_up_to:
        tell("indexing", {"passages": count, "part": "tokens"})
        write_tokens(index.texts, keys, folder, before)


@contextmanager
def _unfinished(artifacts: Path) -> Iterator[Path]:
    """A folder beside the artifacts; gone afterwards, unless it was renamed to be one."""
    folder = None
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=artifacts, prefix=".unfinished-"))
        yield folder
    except OSError as error:
        raise StoreError(
            f"cannot write an index in {str(artifacts)!r}: {error}",
            hint="free some space, or choose a run folder that can be written",
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _latest(file: Path, artifacts: Path) -> tuple[str, Path | None]:
    """The corpus and the folder of the last index of this shape; None where it is not usable."""
    with suppress(OSError, ValueError, KeyError, TypeError, StepladderError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return str(found["corpus"]), open_artifact(artifacts, str(found["artifact"]))
    return "", None


def _shape_key(shape: IndexShape) -> str:
    said = json.dumps([FORMAT, asdict(shape), encoder_name() if shape.dense else None])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def write_whole(file: Path, text: str) -> None:
    """Write the file whole, or not at all."""
    beside = file.with_name(f".{file.name}-{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def _json_line(record: Mapping[str, Json]) -> bytes:
    return (json.dumps(record, ensure_ascii=True) + "\n").encode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8")


def _key(said: str) -> int:
    return int.from_bytes(hashlib.blake2b(_bytes(said), digest_size=8).digest(), "little")
