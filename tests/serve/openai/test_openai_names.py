"""Ids and names: what is shown means what was meant, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.serve.openai.names import bare_id, shown_id, tuned_id_of, tuned_name

BASES = st.from_regex(r"[a-z0-9][a-z0-9:./-]{0,20}", fullmatch=True)
IDS = st.integers(10**17, 2**63 - 1).map(str)


@given(BASES, st.text(max_size=64), IDS, st.none() | st.integers(0, 10**6))
def test_a_tuned_model_is_found_by_its_name(
    base: str, suffix: str, id: str, step: int | None
) -> None:
    assert tuned_id_of(tuned_name(base, suffix, id, step=step)) == id


@given(BASES, IDS, IDS)
def test_what_is_tuned_further_is_named_after_the_first_base(
    base: str, first: str, second: str
) -> None:
    further = tuned_name(tuned_name(base, "one", first), "two", second)
    assert further == tuned_name(base, "two", second)


def test_a_name_says_whose_it_is() -> None:
    assert tuned_name("gpt-4o-mini", "my try", "1") == "ft:gpt-4o-mini:stepladder:my-try:1"
    assert tuned_name("m", "", "1", step=20) == "ft:m:stepladder::1:ckpt-step-20"


@pytest.mark.parametrize("name", ["m", "ft:m:org::1", "ft:m:stepladder:1", "", "ft:"])
def test_other_names_mean_no_tuned_model_of_ours(name: str) -> None:
    assert tuned_id_of(name) is None


@given(IDS)
def test_an_id_of_one_kind_is_none_of_another(id: str) -> None:
    assert bare_id("file", shown_id("file", id)) == id
    assert bare_id("batch", shown_id("batch", id)) == id
    assert bare_id("file", shown_id("batch", id)) is None
    assert bare_id("file", id) is None
    assert bare_id("file", "file-") is None
