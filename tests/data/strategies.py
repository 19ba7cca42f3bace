"""Hypothesis strategies for examples of every form."""

from __future__ import annotations

import json
import string
from typing import Any

from hypothesis import strategies as st

from stepladder.core import Example, Message, Part
from stepladder.data.chat import CALL, RESULT, simplify

LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXT = st.text(LETTERS, min_size=1, max_size=12).filter(str.strip)
NAME = st.text(string.ascii_letters, min_size=1, max_size=6)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(NAME, JSON, max_size=3)
FILES = st.sampled_from(
    [
        Part("image", uri="gs://bucket/1.jpg", media_type="image/jpeg"),
        Part("image", uri="data:image/png;base64,aGk=", media_type="image/png"),
        Part("image", uri="https://example.org/picture", media_type="image/webp"),
        Part("document", uri="gs://bucket/a.pdf", media_type="application/pdf"),
        Part("video", uri="gs://bucket/a.mp4", media_type="video/mp4"),
    ]
)
PLAIN_PARTS = st.builds(lambda text: Part("text", text), TEXT)


def carried(media_type: str, value: Any) -> Part:
    return Part("text", json.dumps(value, ensure_ascii=False), media_type=media_type)


CALL_PARTS = st.builds(
    lambda name, arguments: carried(CALL, {"name": name, "arguments": arguments}), NAME, OBJECT
)
RESULT_PARTS = st.builds(
    lambda name, response: carried(RESULT, {"name": name, "response": response}), NAME, OBJECT
)
USER = st.builds(
    lambda content: Message("user", content),
    TEXT | st.lists(FILES, min_size=1, max_size=2).map(tuple),
)
MIXED = st.builds(
    lambda files, text: Message("user", (*files, text)),
    st.lists(FILES, min_size=1, max_size=2), PLAIN_PARTS,
)  # fmt: skip
SPOKEN = st.builds(lambda text: Message("assistant", text), TEXT)
CALLING = st.builds(
    lambda calls: Message("assistant", tuple(calls)), st.lists(CALL_PARTS, min_size=1, max_size=2)
)
ANSWERED = st.builds(lambda result: Message("user", (result,)), RESULT_PARTS)
SYSTEM = st.builds(lambda text: Message("system", text), TEXT)
# a system turn can only come first: Gemini has one place for it
CONVERSATIONS = st.builds(
    lambda system, turns: simplify((*system, *turns)),
    st.lists(SYSTEM, max_size=1),
    st.lists(USER | MIXED | SPOKEN | CALLING | ANSWERED, min_size=1, max_size=4),
)
CALLS = st.lists(
    st.builds(lambda name, arguments: {"name": name, "arguments": arguments}, NAME, OBJECT),
    min_size=1, max_size=2,
)  # fmt: skip
FIELDS = st.dictionaries(NAME.map("field_{}".format), TEXT, min_size=1, max_size=3)


NOTHING: st.SearchStrategy[Any] = st.just({})
GROUPS = st.none() | TEXT


def examples(
    inputs: Any, expected: Any, metadata: Any = NOTHING, groups: Any = GROUPS
) -> st.SearchStrategy[list[Example]]:
    """Lists of examples with distinct ids."""
    one = st.builds(lambda i, e, g, m: Example("", i, e, g, m), inputs, expected, groups, metadata)
    numbered = lambda found: [  # noqa: E731
        Example(f"id {n}", e.input, e.expected, e.group, e.metadata) for n, e in enumerate(found)
    ]
    return st.lists(one, max_size=5).map(numbered)
