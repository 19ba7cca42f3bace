"""How much data: what more labels would bring, what they cost, and which to ask for next.

nested.py ..... subsets of train that lie in each other
measure.py .... a step built on each of them, scored on dev
curve.py ...... the curve through the scores, and how far it can be trusted
payback.py .... what N more labels bring, cost and pay back
active.py ..... which unlabelled inputs to label next
pool.py ....... the unlabelled inputs, read
"""

from __future__ import annotations

__all__: list[str] = []
