"""Reading what there is to answer from: every kind of file, and clear words where one is unread."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepladder.errors import TaskError
from stepladder.knowledge import converters
from stepladder.knowledge.converters import CONVERTED
from stepladder.knowledge.documents import knowledge_of, make_document, read_documents

HTML = """<html><head><title>Leave &amp; pay</title><style>p {}</style></head><body>
<script>steal()</script><h1>Leave</h1><p>You have <b>25</b> days.</p><p>Ask first.</p>
<iframe src="http://example.com/x">no</iframe></body></html>"""


def folder_of(tmp_path: Path, **files: str | bytes) -> Path:
    folder = tmp_path / "knowledge"
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def make_pdf(text: str) -> bytes:
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    made, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 6\n0000000000 65535 f \n" + table
    return made + head + b"trailer << /Root 1 0 R /Size 6 >>\nstartxref\n%d\n%%%%EOF" % len(made)


def make_docx(tmp_path: Path, text: str) -> bytes:
    docx: Any = pytest.importorskip("docx")
    document = docx.Document()
    document.core_properties.title = "Handbook"
    document.add_paragraph(text)
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "days", "25"
    document.save(str(tmp_path / "made.docx"))
    return (tmp_path / "made.docx").read_bytes()


def test_every_kind_of_file_is_read_in_the_order_of_paths(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        a_csv='id,title,text\nx,T,"one, two"\n',
        b_csv="days,who\n25,all\n",
        c_docx=make_docx(tmp_path, "Leave is 25 days."),
        d_html=HTML,
        e_jsonl='{"id": "j", "title": "J", "text": "said"}\n\n{"text": "more"}\n',
        f_md="# Pay\n\nMonthly.",
        g_pdf=make_pdf("Pay day is the last day."),
        sub__h_txt="\ufeffplain",
    )
    (folder / ".hidden").write_text("no")
    found = {d.id: (d.title, d.text) for d in read_documents(folder)}
    assert found == {
        "x": ("T", "one, two"),
        "b.csv:2": ("", "days: 25\nwho: all"),
        "c.docx": ("Handbook", "Leave is 25 days.\n\ndays | 25"),
        "d.html": ("Leave & pay", "Leave\n\nYou have 25 days.\n\nAsk first."),
        "j": ("J", "said"),
        "e.jsonl:3": ("", "more"),
        "f.md": ("Pay", "# Pay\n\nMonthly."),
        "g.pdf": ("g", "Pay day is the last day."),
        "sub/h.txt": ("h", "plain"),
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xlsx", b"x", "'a.xlsx' is of a kind that is not read"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"title": "x"}', "a.jsonl:2 has no 'text'"),
        ("a.jsonl", b'{"text": ', "a.jsonl:1 is not JSON"),
        ("a.csv", b"a,b\n1\n", "a.csv:2 has not as many cells"),
        ("a.pdf", b"%PDF-1.4 broken", "'a.pdf' cannot be read"),
        ("a.docx", b"PK not a zip", "'a.docx' cannot be read"),
        ("a.html", b"<script>x</script>", "no text in 'a.html'"),
        ("a.html", b"", "'a.html' cannot be read"),
        (
            "a.jsonl",
            b'{"id": "1", "text": "x"}\n{"id": "1", "text": "y"}',
            "two documents are called",
        ),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge" / name).write_bytes(content)
    with pytest.raises(TaskError, match=said) as caught:
        list(read_documents(tmp_path / "knowledge"))
    assert caught.value.hint


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge" / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(TaskError, match="leads out of"):
        list(read_documents(tmp_path / "knowledge"))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "knowledge").mkdir()
    with pytest.raises(TaskError, match="no document"):
        list(read_documents(tmp_path / "knowledge"))


def test_a_file_is_converted_again_only_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, kept = folder_of(tmp_path, a_html=HTML), tmp_path / "artifacts"
    calls = []
    real = converters.CONVERTERS[".html"]

    def counted(content: bytes) -> tuple[str, str]:
        calls.append(content)
        return real(content)

    monkeypatch.setitem(converters.CONVERTERS, ".html", counted)
    first = list(read_documents(folder, kept))
    assert list(read_documents(folder, kept)) == first
    assert len(calls) == 1
    (folder / "a.html").write_text(HTML.replace("25", "30"))
    assert "30 days" in next(read_documents(folder, kept)).text
    assert len(calls) == 2
    with sqlite3.connect(kept / CONVERTED) as db:
        db.execute("DELETE FROM converted")
    db.close()
    (kept / CONVERTED).write_bytes(b"damaged")
    assert "30 days" in next(read_documents(folder, kept)).text


def test_the_task_folder_has_one_or_the_other(tmp_path: Path) -> None:
    assert knowledge_of(tmp_path) is None
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"text": "x"}))
    assert knowledge_of(tmp_path) == tmp_path / "corpus.jsonl"
    (tmp_path / "knowledge").mkdir()
    with pytest.raises(TaskError, match="both"):
        knowledge_of(tmp_path)


def test_half_a_character_is_marked_and_the_hash_is_of_what_is_said() -> None:
    assert make_document("a", "s", "t", "x\ud800y").text == "x\ufffd\ufffd\ufffdy"
    one, other = make_document("a", "s", "t", "x"), make_document("b", "z", "t", "x")
    assert one.sha256 == other.sha256 != make_document("a", "s", "", "x").sha256
