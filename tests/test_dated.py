"""Dated tables: which entry a name finds, what `like` takes over, where a mistake is."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.cost import Prices, load_prices, token_price
from stepladder.dated import base_of, best_fit, config_folder, is_tuned
from stepladder.errors import StepladderError

TODAY = date(2026, 11, 22)
OWN = """
[[tokens]]
model = "house:small"
input = 1.0
output = 2.0
cached = 0.5
read_on = 2026-11-20
source = "our contract"

[[tokens]]
model = "house:small"
above_input_tokens = 1000
input = 3.0
output = 4.0
read_on = 2026-11-20
source = "our contract"

[[tokens]]
model = "house:large"
like = "house:small"
cached = 0.25
"""

names = st.text(st.characters(codec="ascii", exclude_characters="@:*"), min_size=1)


@dataclass
class Files:
    """The user's two files: the one in the configuration folder, and one that is named."""

    folder: Path

    def prices(self, standing: str | None = None, named: str | None = None) -> Prices:
        if standing is not None:
            (self.folder / "prices.toml").write_text(standing, encoding="utf-8")
        path = self.folder / "named.toml"
        if named is not None:
            path.write_text(named, encoding="utf-8")
        return load_prices(path if named is not None else None, today=TODAY)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setenv("STEPLADDER_CONFIG", str(tmp_path))
    return Files(tmp_path)


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("vertex:gemini-3.5-flash@projects/p/locations/us/endpoints/5", "vertex:gemini-3.5-flash"),
        ("openai:gpt-4o-mini@ft:gpt-4o-mini-2024-07-18:org::id", "openai:gpt-4o-mini"),
        ("openai:ft:gpt-4o-mini-2024-07-18:org:name:id", "openai:gpt-4o-mini-2024-07-18"),
        ("together:Qwen/Qwen3-8B@me/Qwen3-8B-tickets-1a2b", "together:Qwen/Qwen3-8B"),
    ],
)
def test_a_tuned_model_is_known_by_its_base(model: str, base: str) -> None:
    assert base_of(model) == base
    assert is_tuned(model)
    assert not is_tuned(base)


@given(names, names, names)
def test_whatever_was_tuned_has_the_base_it_was_made_from(
    provider: str, base: str, tuned: str
) -> None:
    assert base_of(f"{provider}:{base}@{tuned}") == f"{provider}:{base}"


@given(names, st.lists(st.integers(0, 20)), st.lists(names))
def test_the_longest_pattern_that_fits_is_taken_and_the_very_name_before_any(
    name: str, lengths: list[int], others: list[str]
) -> None:
    model = f"x:{name}"
    patterns = [f"x:{start}*" for start in [*(name[:length] for length in lengths), *others]]
    found = best_fit(patterns, model)
    fitting = [each for each in patterns if model.startswith(each[:-1])]
    assert (found is None) == (not fitting)
    assert found is None or (found in fitting and len(found) == max(map(len, fitting)))
    assert best_fit([*patterns, model], model) == model


# --- files --------------------------------------------------------------------------------------


def test_an_entry_like_another_has_all_its_tiers_and_what_it_says_itself(own: Files) -> None:
    prices = own.prices(named=OWN)
    large = [entry for entry in prices.tokens if entry.model == "house:large"]
    assert [(each.above_input_tokens, each.input, each.cached) for each in large] == [
        (0, 1.0, 0.25),
        (1000, 3.0, 0.25),
    ]
    assert {each.source for each in large} == {"our contract"}


def test_an_entry_may_be_like_a_shipped_one(own: Files) -> None:
    prices = own.prices(
        named='[[tokens]]\nmodel = "mirror:flash"\nlike = "gemini:gemini-3.8-flash"'
    )
    mirrored = [each for each in prices.tokens if each.model == "mirror:flash"]
    assert [each.since for each in mirrored] == [date.min, date(2027, 1, 1)]


def test_the_file_in_the_configuration_folder_is_read_unasked_and_a_named_one_goes_over_it(
    own: Files,
) -> None:
    standing = OWN.replace("input = 1.0", "input = 7.0")
    found = token_price("house:small", own.prices(standing))
    assert found is not None
    assert found.input == 7.0
    found = token_price("house:small", own.prices(standing, OWN))
    assert found is not None
    assert found.input == 1.0
    assert config_folder() == own.folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('like = "house:small"', 'like = "house:smal"'), r"tokens\[3\]\.like.*'house:smal'"),
        (('model = "house:large"\n', ""), r"tokens\[3\]\.model"),
        (("cached = 0.25", "cashed = 0.25"), r"tokens\[3\]\.cashed"),
        (("cached = 0.25", "cached = -1"), r"tokens\[3\]\.cached: -1 is below zero"),
        (("[[tokens]]", "[tokens]"), r"line|tokens"),
    ],
)
def test_a_mistake_is_told_with_file_and_entry(
    own: Files, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(StepladderError, match=message) as raised:
        own.prices(OWN.replace(*change))
    assert "prices.toml" in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("text", ["tokens = 3", "tokens = [3]", "[tokens]\nx = 1"])
def test_a_table_of_the_wrong_shape_is_told(own: Files, text: str) -> None:
    with pytest.raises(StepladderError, match="tokens is not a list of tables"):
        own.prices(text)


def test_a_file_in_another_encoding_is_told(own: Files) -> None:
    (own.folder / "prices.toml").write_bytes("# é".encode("latin-1"))
    with pytest.raises(StepladderError, match="not UTF-8"):
        own.prices()
