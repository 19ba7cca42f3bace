"""Which files and addresses of a message go to a service: those of the task, and no others."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Part
from stepladder.errors import ModelError
from stepladder.models.hosted.media import MOST_BYTES, Inline, Remote, open_media


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    task = tmp_path / "task"
    (task / "images").mkdir(parents=True)
    (task / "images" / "a.png").write_bytes(b"png")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "task-of-another").mkdir()
    (tmp_path / "task-of-another" / "a.png").write_bytes(b"secret")
    return task


def part(uri: str, media_type: str = "") -> Part:
    return Part("image", uri=uri, media_type=media_type)


@pytest.mark.parametrize("uri", ["images/a.png", "images/../images/a.png", "./images/a.png"])
def test_a_file_of_the_task_is_read(uri: str, folder: Path) -> None:
    assert open_media(part(uri), folder) == Inline(b"png", "image/png")
    assert open_media(part(uri, "image/x"), folder) == Inline(b"png", "image/x")
    assert open_media(part(str(folder / uri)), folder) == Inline(b"png", "image/png")


@pytest.mark.parametrize(
    "uri", ["../secret.png", "/etc/hostname", "../task-of-another/a.png", "images/../../secret.png"]
)
def test_a_file_outside_the_task_is_never_read(uri: str, folder: Path) -> None:
    with pytest.raises(ModelError, match="outside the task folder"):
        open_media(part(uri, "image/png"), folder)


def test_a_link_that_leads_outside_is_not_followed(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "up").symlink_to(folder.parent)
    for uri in ("link.png", "up/secret.png"):
        with pytest.raises(ModelError, match="outside the task folder"):
            open_media(part(uri), folder)
    (folder / "inner.png").symlink_to(folder / "images" / "a.png")
    assert open_media(part("inner.png"), folder) == Inline(b"png", "image/png")


@pytest.mark.parametrize("uri", ["none.png", "images", "a\0.png", "~/a.png"])
def test_what_cannot_be_read_says_where_it_was_looked_for(uri: str, folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read") as caught:
        open_media(part(uri, "image/png"), folder)
    assert str(folder) in caught.value.hint


def test_without_a_task_no_file_is_read(folder: Path) -> None:
    with pytest.raises(ModelError, match="no task folder"):
        open_media(part(str(folder / "images" / "a.png")), None)


@pytest.mark.parametrize(
    "uri", ["https://example.org/a.png", "gs://b/a.png", "HTTPS://x.org/a.png"]
)
def test_an_address_is_passed_on_and_not_fetched(uri: str) -> None:
    assert open_media(part(uri), None) == Remote(uri, "image/png")


@pytest.mark.parametrize(
    "uri",
    ["file:///etc/passwd", "http://169.254.169.254/", "ftp://x/a", "s3://b/a", "javascript:x"],
)
def test_addresses_of_other_kinds_go_nowhere(uri: str, folder: Path) -> None:
    with pytest.raises(ModelError, match="not sent anywhere"):
        open_media(part(uri, "image/png"), folder)


@given(st.binary(max_size=200))
def test_content_in_the_address_itself_is_decoded(data: bytes) -> None:
    uri = f"data:image/gif;base64,{base64.b64encode(data).decode()}"
    assert open_media(part(uri), None) == Inline(data, "image/gif")
    assert open_media(part(uri, "image/x"), None) == Inline(data, "image/x")


@pytest.mark.parametrize(
    "uri",
    ["data:image/png;base64", "data:image/png,abc", "data:image/png;base64,a", "data:;base64,YQ==",
     "data:image/png;base64,Y_-=", "data:"],
)  # fmt: skip
def test_a_damaged_address_is_refused(uri: str) -> None:
    with pytest.raises(ModelError, match="damaged"):
        open_media(part(uri), None)


def test_what_is_too_large_for_a_request_is_refused(folder: Path) -> None:
    with (folder / "large.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ModelError, match="larger than 20 MiB") as caught:
        open_media(part("large.png"), folder)
    assert "bucket" in caught.value.hint


def test_a_part_without_an_address_or_a_type_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="without a 'uri'"):
        open_media(part(""), folder)
    with pytest.raises(ModelError, match="what kind of file"):
        open_media(part("https://example.org/a"), folder)
