"""Secrets kept out of what services and servers say, before a model or a record gets it.

What is found is the secret as it was sent, plain or as in an address. Whoever is given a secret can
say it in other ways; that is not for a program to find.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from ..core import Json

__all__ = ["HIDDEN", "without_secrets"]

HIDDEN = "[secret]"


def without_secrets(value: Json, secrets: Collection[str]) -> Any:
    """The value with `[secret]` wherever one of these is in its texts or its fields' names.

    An empty one, as a header of a scheme alone leaves, is no secret: it would stand everywhere.
    """
    if not any(secrets):
        return value
    if isinstance(value, str):
        forms = {form for one in secrets if one for form in (one, quote(one, safe=""))}
        return re.sub("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), HIDDEN, value)
    if isinstance(value, Mapping):
        return {
            without_secrets(name, secrets): without_secrets(one, secrets)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(one, secrets) for one in value]
    return value
