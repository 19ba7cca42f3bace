"""Texts that a body gives as text or as token ids: the prompts of completions and embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core import Json
from .. import Caller, Refusal
from ..answering import model_for
from .fields import Fields, wrong
from .names import served_name

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["read_prompts"]

MOST_TEXTS = 2048
MOST_ID = 2**31 - 1
WANTED = "a string, a list of strings, token ids, or a list of lists of token ids"


def read_prompts(
    server: Server, caller: Caller, body: Fields, name: str, model: str
) -> tuple[str, ...]:
    """The texts of a field; ids are turned into text by the model that they are meant for.

    Raises:
        Refusal: The field is missing or of another form, or the model knows no such ids.
    """
    value = body.given.get(name)
    if value is None:
        raise body.missing(name)
    if isinstance(value, str):
        return (value,)
    items = body.items(name, least=1) or []
    path = body.at(name)
    if _is_id(items[0]):
        return (_text(server, caller, model, _ids(items, path), path),)
    if len(items) > MOST_TEXTS:
        raise body.fault(name, f"has to have at most {MOST_TEXTS} entries, not {len(items)}")
    return tuple(
        _entry(server, caller, model, one, f"{path}[{place}]") for place, one in enumerate(items)
    )


def _entry(server: Server, caller: Caller, model: str, one: Json, path: str) -> str:
    if isinstance(one, str):
        return one
    if not isinstance(one, list) or not one:
        raise wrong(path, WANTED, one)
    return _text(server, caller, model, _ids(one, path), path)


def _ids(items: list[Json], path: str) -> list[int]:
    for place, one in enumerate(items):
        if not _is_id(one):
            raise wrong(f"{path}[{place}]", "a token id", one)
    return [int(one) for one in items]


def _is_id(value: Json) -> bool:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return is_whole and not isinstance(value, bool) and 0 <= value <= MOST_ID


def _text(server: Server, caller: Caller, name: str, ids: list[int], path: str) -> str:
    model: Any = model_for(server, caller, served_name(name))
    if not hasattr(model, "text_of"):
        raise Refusal(
            "unsupported",
            f"the model {name!r} takes text, not token ids",
            hint="send the text itself",
            param=path,
        )
    try:
        text: str = model.text_of(ids)
    except Refusal as refusal:
        refusal.param = refusal.param or path
        raise
    return text
