"""Long texts in windows: nothing is left out, nothing is too long."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stepladder.encoders.windows import cut_windows, window_spans


@given(st.integers(0, 3000), st.integers(8, 512), st.data())
def test_windows_cover_all_and_share_enough(length: int, most: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, most - 1))
    spans = window_spans(length, most, overlap)
    assert {n for start, end in spans for n in range(start, end)} == set(range(length))
    assert all(end - start <= most for start, end in spans)
    assert len(spans) == 1 or all(end - start == most for start, end in spans)
    assert all(one[1] - other[0] >= overlap for one, other in pairwise(spans))


def test_each_window_has_the_marks_of_a_text() -> None:
    ids = [1, *range(100, 120), 2]
    windows = cut_windows(ids, 12, 4)
    assert [one[0] for _, one in windows] == [1] * len(windows)
    assert [one[-1] for _, one in windows] == [2] * len(windows)
    assert all(len(one) <= 12 for _, one in windows)
    assert windows[0] == ((0, 10), [1, *range(100, 110), 2])
    assert cut_windows([1, 2], 12, 4) == [((0, 0), [1, 2])]
