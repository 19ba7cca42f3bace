"""A measured solver's model as files that other programs run, measured again before they are kept.

`exporting.py` goes through it: the files are written beside their place (`language_models.py`,
`encoders.py`), asked what the trial was asked (`remeasuring.py`), described (`card.py`) and renamed
into place. Deploying within stepladder is for `bundles/`.
"""

from __future__ import annotations

from .exporting import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
