"""Finished model calls by content, and a model that makes none twice. Part of `store.py`.

    <runs>/answers.sqlite   every finished call; all runs share them

Several processes may share the file; which of them makes a call that costs money is in `claims.py`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from .claims import AT_ONCE, Claims, marks
from .core import Call, Function, Json, Message, Model, Part, Request, Response, Usage
from .disk import disk_errors
from .interrupts import allowed, held

__all__ = ["Answers", "CachedModel", "request_key"]

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds, while another process is asked


class Answers:
    """Finished model calls by content. Safe for several processes at once, and against kill -9."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._claims: Claims | None = None  # made when a call costs money
        self.hits = 0
        self.misses = 0
        with disk_errors(path):
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            # a power cut may lose the last calls, never damage the file; a kill loses nothing
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, response TEXT NOT NULL)"
                " WITHOUT ROWID"
            )

    def find(self, keys: Iterable[str]) -> dict[str, Response]:
        """Those answers that there are."""
        left, found = iter(keys), {}
        while some := list(islice(left, AT_ONCE)):
            asked = f"SELECT key, response FROM answers WHERE key IN ({marks(len(some))})"
            with disk_errors(self._path):
                rows = self._db.execute(asked, some).fetchall()
            found.update({key: _response(json.loads(text)) for key, text in rows})
        return found

    def put(self, key: str, response: Response) -> None:
        text = json.dumps(_said(response), ensure_ascii=False, separators=(",", ":"))
        with disk_errors(self._path):
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))

    @contextmanager
    def claim(self, keys: Iterable[str]) -> Iterator[set[str]]:
        """Those of these calls that this process is to make: no other makes them meanwhile."""
        with disk_errors(self._path):
            if self._claims is None:
                self._claims = Claims(self._db, self._path.parent / "claims")
            mine = self._claims.take(list(keys))
        try:
            yield mine
        finally:
            self.release(mine)

    def release(self, keys: Iterable[str]) -> None:
        """These calls are not made here any more: where there is no answer, others may try."""
        with disk_errors(self._path):
            if self._claims is not None:
                self._claims.release(keys)

    def close(self) -> None:
        if self._claims is not None:
            self._claims.close()
        self._db.close()


class CachedModel:
    """A model whose finished answers are kept. Failed calls are not: they are tried again.

    What a `hosted` model is asked costs money, so no call is made that another process is making:
    its answer is waited for, and only if it fails the call is made here. When nobody wants more
    answers, or on Ctrl-C, a model that can `stop` begins no more calls, and what it was already
    asked is kept as well. With an answer of such a model is kept how long it was waited for, so
    that what is asked again later is known to have taken that long.
    """

    def __init__(
        self,
        model: Model,
        answers: Answers,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = model.name
        self._model = model
        self._answers = answers
        self._sleep = sleep
        self._clock = clock
        self._paid = bool(getattr(model, "hosted", False))
        self._identity = f"{model.name} {getattr(model, 'fingerprint', '')}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return self._model.count_tokens(messages)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        wanted: dict[str, list[int]] = {}
        for start in range(0, len(requests), AT_ONCE):
            some = requests[start : start + AT_ONCE]
            keys = [request_key(self._identity, request) for request in some]
            found = self._answers.find({*keys} - wanted.keys())
            for index, key in enumerate(keys, start):
                if key in found:
                    self._answers.hits += 1
                    yield index, found[key]
                elif key in wanted:
                    wanted[key].append(index)
                else:
                    self._answers.misses += 1
                    wanted[key] = [index]
        if not wanted:
            return
        ask = self._ask_in_turn if self._paid else self._ask
        with closing(ask({key: requests[places[0]] for key, places in wanted.items()})) as asked:
            for key, response in asked:
                for index in wanted[key]:
                    yield index, response

    def _ask(self, requests: Mapping[str, Request]) -> Generator[tuple[str, Response]]:
        keys = list(requests)
        answers = self._model.generate(list(requests.values()))
        began = self._clock()
        with held() if self._paid else nullcontext():
            try:
                for place, answer in answers:
                    response = self._keep(keys[place], answer, began)
                    with allowed():
                        yield keys[place], response
                    began = self._clock()
            except (GeneratorExit, KeyboardInterrupt):
                if (stop := getattr(self._model, "stop", None)) is not None:
                    stop()
                    for place, answer in answers:  # those under way: they are paid for
                        self._keep(keys[place], answer, began)
                        began = self._clock()
                raise

    def _ask_in_turn(self, requests: Mapping[str, Request]) -> Generator[tuple[str, Response]]:
        """Ask what no other process is asking, then wait for what others are asked."""
        left, pause = dict(requests), FIRST_PAUSE
        while left:
            before = len(left)
            with self._answers.claim(left) as mine:
                ours = {key: request for key, request in left.items() if key in mine}
                with closing(self._ask(ours)) as asked:
                    for key, response in asked:
                        if response.error is not None:
                            self._answers.release([key])
                        yield key, response
            left = {key: request for key, request in left.items() if key not in mine}
            for key, found in self._answers.find(left).items():
                del left[key]
                yield key, found
            pause = FIRST_PAUSE if len(left) < before else min(LONGEST_PAUSE, 2 * pause)
            if left:
                self._sleep(pause)

    def _keep(self, key: str, response: Response, began: float) -> Response:
        """The response as it is kept; `began` is since when it was waited for."""
        if self._paid:
            usage = replace(response.usage, waited_seconds=self._clock() - began)
            response = replace(response, usage=usage)
        if response.error is None:
            self._answers.put(key, response)
        return response


def request_key(identity: str, request: Request) -> str:
    """What a request's answer is kept under; `identity` names the model as it answers today."""
    record = json.dumps(_said(request), ensure_ascii=False, separators=(",", ":"), default=dict)
    return hashlib.blake2b(f"{identity}\n{record}".encode(), digest_size=20).hexdigest()


def _said(value: Any) -> Json:
    """A record of what differs from the defaults, all the way down.

    So a new field in a later version changes no key, and loses nobody's paid answers.
    """
    if type(value) in _DEFAULTS:
        given = [(name, getattr(value, name), plain) for name, plain in _DEFAULTS[type(value)]]
        return {name: _said(one) for name, one, plain in given if one != plain}
    if isinstance(value, tuple):
        return [_said(one) for one in value]
    return value


_DEFAULTS: dict[type, list[tuple[str, Any]]] = {
    kind: [
        (one.name, one.default_factory() if callable(one.default_factory) else one.default)
        for one in fields(kind)
    ]
    for kind in (Call, Function, Message, Part, Request, Response, Usage)
}


def _response(record: dict[str, Any]) -> Response:
    usage = Usage(**record.pop("usage"))
    record["choice_logprobs"] = tuple(record.get("choice_logprobs", ()))
    record["calls"] = tuple(Call(**call) for call in record.get("calls", ()))
    return Response(usage=usage, **record)
