"""An index: found again, changed in part, there whole or not at all."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepladder.bundles.manifest import check_path
from stepladder.errors import StepladderError, TaskError
from stepladder.knowledge import index as module
from stepladder.knowledge.documents import Document, make_document
from stepladder.knowledge.index import IndexShape, build_index, open_index
from stepladder.solvers.artifact import open_artifact

TOPICS = ("leave", "pay", "sick", "bank", "tax", "wage", "bonus", "travel", "hotel", "train")
SHAPE = IndexShape(size=30, overlap=5, tokens_up_to=0)
GRAPH = IndexShape(size=30, overlap=5, graph_from=10, tokens_up_to=1000)


def documents(count: int = 40, **changed: str) -> list[Document]:
    made = []
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)]
        text = f"Rule {number} of {topic}. It says {topic}{number} and é {topic}. " * 4
        made.append(make_document(f"d{number}", "f", topic, changed.get(f"d{number}", text)))
    return made


def test_passages_come_back_as_they_were_cut(tmp_path: Path, encoder: Any) -> None:
    from stepladder.knowledge.passages import cut

    given = documents(5)
    opened = open_index(tmp_path, build_index(given, SHAPE, tmp_path))
    wanted = [passage for document in given for passage in cut(document, 30, 5)]
    assert opened.passages(range(len(opened))) == wanted
    assert list(opened.texts([0, 3])) == [wanted[0].text, wanted[3].text]


def test_what_is_made_again_is_found_and_what_changed_is_encoded_alone(
    tmp_path: Path, encoder: Any
) -> None:
    first = build_index(documents(), GRAPH, tmp_path)
    encoder.texts.clear()
    encoder.token_texts.clear()
    assert build_index(documents(), GRAPH, tmp_path) == first
    assert (encoder.texts, encoder.token_texts) == ([], [])
    second = build_index(documents(d7="Bees make honey."), GRAPH, tmp_path)
    assert second != first
    assert encoder.texts == encoder.token_texts == ["Bees make honey."]
    for name in (first, second):
        open_artifact(tmp_path, name)
    opened = open_index(tmp_path, second)
    assert opened.passages(opened.by_meaning(["bees honey"], 1)[0][0])[0].document == "d7"
    assert opened.passages(opened.by_words(["honey"], 3)[0][0])[0].document == "d7"
    assert not opened.by_words(["travel7 leave7"], 3)[0][0].size  # what it said before is gone


def test_the_graph_finds_what_comparing_all_finds(tmp_path: Path, encoder: Any) -> None:
    build_index(documents(), GRAPH, tmp_path)
    changed = documents(45, d3="Bees make honey.", d9="Cows make milk.")[1:]
    by_graph = open_index(tmp_path, build_index(changed, GRAPH, tmp_path))
    plain = open_index(tmp_path, build_index(changed, SHAPE, tmp_path))
    asked = ["honey bees", "milk", "travel hotel", "tax4", "d99 desk"]
    for one, other in zip(by_graph.by_meaning(asked, 5), plain.by_meaning(asked, 5), strict=True):
        np.testing.assert_allclose(one[1], other[1], atol=1e-3)


def test_without_vectors_no_encoder_is_asked(tmp_path: Path, encoder: Any) -> None:
    opened = open_index(tmp_path, build_index(documents(), IndexShape(dense=False), tmp_path))
    assert encoder.texts == []
    assert opened.passages(opened.by_words(["tax4"], 1)[0][0])[0].document == "d4"


def test_bm25_is_the_librarys(tmp_path: Path, encoder: Any) -> None:
    import bm25s

    opened = open_index(tmp_path, build_index(documents(), SHAPE, tmp_path))
    plain = bm25s.BM25(k1=1.2, b=0.75)
    texts = list(opened.texts(range(len(opened))))
    plain.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
    rows, scores = opened.by_words(["rule of travel nothing"], 7)[0]
    everything = plain.get_scores(["rule", "of", "travel"])
    np.testing.assert_allclose(scores, everything[rows], rtol=1e-5)
    np.testing.assert_allclose(np.sort(everything)[::-1][:7], scores, rtol=1e-5)
    assert not opened.by_words(["", "?", "unheard"], 3)[2][0].size


def test_all_its_files_may_go_into_a_bundle(tmp_path: Path, encoder: Any) -> None:
    name = build_index(documents(), GRAPH, tmp_path)
    for path in (tmp_path / name).iterdir():
        check_path(f"artifacts/{name}/{path.name}")
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)


def test_one_that_fails_leaves_nothing(
    tmp_path: Path, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "keep_folder", fail)
        with pytest.raises(KeyboardInterrupt):
            build_index(documents(), SHAPE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings.sqlite"]
    encoder.texts.clear()
    build_index(documents(), SHAPE, tmp_path)
    assert encoder.texts == []  # the vectors that were computed are kept


def test_a_changed_or_foreign_index_is_refused(tmp_path: Path, encoder: Any) -> None:
    name = build_index(documents(), SHAPE, tmp_path)
    (tmp_path / name / "texts.txt").write_text("other")
    with pytest.raises(StepladderError, match="changed or cut off"):
        open_index(tmp_path, name)
    facts = json.loads((tmp_path / name / "index.json").read_text())
    (tmp_path / name / "index.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(StepladderError, match="format 99"):
        module.Index(tmp_path / name)


def test_documents_without_a_word_are_an_error(tmp_path: Path, encoder: Any) -> None:
    with pytest.raises(TaskError, match="no document has a word"):
        build_index([make_document("a", "s", "t", " \n")], SHAPE, tmp_path)
    marks = open_index(
        tmp_path, build_index([make_document("a", "s", "t", "? !")], SHAPE, tmp_path)
    )
    assert not marks.by_words(["word"], 3)[0][0].size


@pytest.mark.slow
def test_killed_at_any_moment_it_is_whole_or_not_there(tmp_path: Path) -> None:
    """Kill -9 while it works, then make it: the artifacts that are there are all whole."""
    import sys
    import time

    program = (
        "from pathlib import Path\n"
        "from stepladder.knowledge.documents import make_document\n"
        "from stepladder.knowledge.index import IndexShape, build_index\n"
        "made = [make_document(str(n), 's', 't', f'word{n} ' * 20) for n in range(3000)]\n"
        f"print(build_index(made, IndexShape(dense=False), Path({str(tmp_path)!r})))\n"
    )
    for wait in (0.3, 0.6, 0.9, 1.2, 1.5):
        process = subprocess.Popen([sys.executable, "-c", program])
        time.sleep(wait)
        process.kill()
        process.wait()
        for path in tmp_path.iterdir():
            if path.is_dir() and not path.name.startswith(".unfinished-"):
                open_artifact(tmp_path, path.name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    open_artifact(tmp_path, done.stdout.strip())
