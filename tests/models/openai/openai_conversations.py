"""Conversations with functions in them, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from stepladder.core import Call, Message

texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=6,
)
calls = st.builds(Call, st.sampled_from(["f", "g"]), st.dictionaries(texts, values, max_size=2))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns of a user and an assistant, in which every call gets its result."""
    made = [Message("system", draw(texts)), Message("user", draw(texts))]
    for _ in range(draw(st.integers(0, 3))):
        asked = tuple(draw(st.lists(calls, max_size=3)))
        made.append(Message("assistant", draw(texts), calls=asked))
        made += [Message("function", draw(texts), result_of=call) for call in asked]
        made.append(Message("user", draw(texts)))
    return tuple(made)
