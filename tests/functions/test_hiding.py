"""What services say, without the secrets that they were given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepladder.functions.hiding import HIDDEN, without_secrets

SECRETS = st.sets(st.text("abc/ ", max_size=4), max_size=3)
SAID = st.recursive(
    st.text("abc/ ", max_size=12) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=4), inner),
)


def texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts(one)]
    return [text for one in value for text in texts(one)] if isinstance(value, list) else []


@given(SAID, SECRETS)
def test_no_secret_is_left_and_what_holds_none_stays(said: object, secrets: set[str]) -> None:
    told = without_secrets(said, secrets)  # type: ignore[arg-type]
    for text in texts(told):
        for part in text.split(HIDDEN):
            assert not any(secret in part for secret in secrets if secret)
    if not any(secret in text for text in texts(said) for secret in secrets if secret):
        assert told == said


def test_an_address_holds_a_secret_in_another_form() -> None:
    assert without_secrets("at /x?key=a%2Fb", {"a/b"}) == f"at /x?key={HIDDEN}"
    assert without_secrets({"a/b": ["a/b!", 1]}, {"a/b", ""}) == {HIDDEN: [f"{HIDDEN}!", 1]}


def test_what_stands_for_a_secret_is_not_taken_for_one() -> None:
    assert without_secrets("abc c", {"abc", "c"}) == f"{HIDDEN} {HIDDEN}"
