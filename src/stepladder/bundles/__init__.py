"""A decision made deployable: a folder of plain files pinned by its hash, and which is current.

    <task>/bundles/
      <hash>/          one bundle; the hash is of its manifest, which has the hash of every file
      checks/          of each bundle: is it served as it was measured?
      current.json     which of them is current, and what was before it
      history.jsonl    every deploy and rollback, one a line

`deploy` makes a bundle of a run and points `current` at it; `rollback` points back; `load_bundle`
verifies one and gives the solver. Nothing here decides what is good enough.
"""

from __future__ import annotations

from .bundle import Bundle, BundledModel, load_bundle
from .current import Move, current_bundle, list_bundles, rollback
from .deploying import Deployed, bundles_of, deploy

__all__ = [
    "Bundle",
    "BundledModel",
    "Deployed",
    "Move",
    "bundles_of",
    "current_bundle",
    "deploy",
    "list_bundles",
    "load_bundle",
    "rollback",
]
