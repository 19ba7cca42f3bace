"""Which calls go wrong, and how: drawn by seed and content, so that they can be repeated."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["KINDS", "Rule", "Schedule"]

KINDS = {
    "429": "too many requests; waits as long as `wait_seconds` says",
    "500": "an internal error",
    "503": "overloaded",
    "quota": "the quota of the day is used up",
    "drop": "the connection breaks before an answer; nothing was done",
    "cut": "the connection breaks after half of the answer",
    "truncated": "a whole HTTP answer with half of the JSON",
    "slow": "the first byte comes after `seconds`",
    "expired": "the credentials do not hold any more",
    "denied": "the credentials may not do this",
    "blocked": "an answer without text: a safety filter stopped it",
    "empty": "an answer without text, for no reason given",
}


@dataclass(frozen=True)
class Rule:
    """Calls that match go wrong in one of `kinds`, this share of them.

    `path` is sought in method and path, "POST /v1/models/...:generateContent".
    The first `after` matching calls go well, and at most `times` go wrong. The same call asked
    again is another draw, unless `sticky`. `echo_key` repeats the caller's key in the error.
    """

    kinds: tuple[str, ...]
    share: float = 1.0
    path: str = r":generateContent|:streamGenerateContent|/chat/completions"
    after: int = 0
    times: int | None = None
    seed: int = 0
    wait_seconds: float | None = None
    seconds: float = 0.5
    sticky: bool = False
    echo_key: bool = False
    said: str = ""  # in place of the error's own message

    @staticmethod
    def read(record: Mapping[str, Any]) -> Rule:
        if unknown := sorted(record.keys() - {field.name for field in fields(Rule)}):
            raise ValueError(f"a rule has no {unknown[0]!r}")
        if unknown := sorted(set(record["kinds"]) - KINDS.keys()):
            raise ValueError(f"no fault is called {unknown[0]!r}; known: {', '.join(KINDS)}")
        return Rule(**{**record, "kinds": tuple(record["kinds"])})


class Schedule:
    """The rules of a test, and how far each has come."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._matched = [0] * len(self._rules)
        self._gone_wrong = [0] * len(self._rules)
        self._asked: Counter[tuple[int, bytes]] = Counter()

    def draw(self, call: str, content: bytes) -> tuple[Rule, str] | None:
        """The rule that a call, "POST /...", falls under and the kind of fault, if any."""
        for place, rule in enumerate(self._rules):
            if not re.search(rule.path, call):
                continue
            self._matched[place] += 1
            if self._matched[place] <= rule.after:
                continue
            if rule.times is not None and self._gone_wrong[place] >= rule.times:
                continue
            self._asked[place, content] += not rule.sticky
            nonce = b"%d %d " % (rule.seed, self._asked[place, content])
            digest = hashlib.blake2b(nonce + content, digest_size=16).digest()
            if int.from_bytes(digest[:8]) < rule.share * 2**64:
                self._gone_wrong[place] += 1
                return rule, rule.kinds[int.from_bytes(digest[8:]) % len(rule.kinds)]
        return None
