"""Spans, links and classes score the same in NumPy, which serves, as in torch, which trains."""

from __future__ import annotations

import numpy as np
import pytest

from stepladder.core import Example
from stepladder.solvers.span_scores import link_scores, span_scores
from stepladder.trainers.alignment import align

torch = pytest.importorskip("torch")

ORDER = {
    "entities": [{"text": "pump", "type": "thing"}, {"text": "broken", "type": "state"}],
    "relations": [{"head": "broken", "relation": "of", "tail": "pump"}],
}
SIZE, TOKENS = 16, 9


def test_both_sides_have_the_same_formulas() -> None:
    from stepladder.trainers.span_head import _link_values, _span_scores, make_span_head

    shape = align([Example("1", "pump broken", ORDER)]).shape
    torch.manual_seed(0)
    head = make_span_head(shape, SIZE).eval()
    weights = {name: one.numpy() for name, one in head.state_dict().items()}
    states = torch.randn(1, TOKENS, SIZE)
    with torch.no_grad():
        theirs = _span_scores(head, states)[0].numpy()
    ours = span_scores(weights, states[0].numpy(), widest=4)
    possible = np.isfinite(ours)
    assert possible.sum() == len(shape.tags) * (4 + 3 + 2 + 1 + 4 * (TOKENS - 2 - 4))
    assert ours[possible] == pytest.approx(theirs[possible], abs=1e-5)
    tags = np.array([0, 1, 0])
    ends = torch.randn(3, 2 * SIZE)
    with torch.no_grad():
        wanted = _link_values(head, ends, torch.tensor(tags), [(0, 1), (2, 0)]).numpy()
    found = link_scores(weights, ends.numpy(), tags)
    assert np.stack([found[0, 1], found[2, 0]]) == pytest.approx(wanted, abs=1e-5)
