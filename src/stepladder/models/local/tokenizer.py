"""Messages to token ids and back. The engines and the trainer all render through this one place,
so that what was trained is what is served.
"""  # noqa: D205

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from ...core import Message
from ...errors import ModelError
from ...registry import need

__all__ = ["LocalTokenizer", "load_tokenizer"]

_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
_MARK = "\ue000{}\ue001"  # stands for a message's text while the template is filled in


@dataclass(frozen=True)
class LocalTokenizer:
    """A model's tokenizer and chat template. Ids are Python ints."""

    tokenizer: Any
    eos_id: int
    pad_id: int
    context_tokens: int
    special_tokens: tuple[str, ...] = ()
    # some are looked for in the text as it is normalised, where they may not look like their names
    disguised: bool = False
    # how a name of a special token is read is a setting of the tokenizer, which threads share
    lock: Any = field(default_factory=threading.RLock, repr=False, compare=False)

    def chat_ids(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]:
        """The ids of a conversation in the model's own chat format."""
        return self.batch_chat_ids([messages], add_generation_prompt=add_generation_prompt)[0]

    def batch_chat_ids(
        self, conversations: Sequence[Sequence[Message]], *, add_generation_prompt: bool = True
    ) -> list[list[int]]:
        """The ids of each conversation; many are encoded side by side on all cores."""
        with self.lock:
            return self._batch(conversations, add_generation_prompt)

    def _batch(
        self, conversations: Sequence[Sequence[Message]], add_generation_prompt: bool
    ) -> list[list[int]]:
        ids: list[list[int]] = [[] for _ in conversations]
        plain: dict[int, str] = {}
        for index, messages in enumerate(conversations):
            texts = [_text(message) for message in messages]
            if any(map(self._may_name_special, texts)):
                marks = [_MARK.format(place) for place in range(len(texts))]
                rendered = self._fill(messages, marks, add_generation_prompt)
                ids[index] = self._join(rendered, marks, texts)
            else:
                plain[index] = self._fill(messages, texts, add_generation_prompt)
        if plain:
            for index, found in zip(plain, self._encoded(list(plain.values())), strict=True):
                ids[index] = found
        return ids

    def _encoded(self, rendered: Sequence[str]) -> list[list[int]]:
        """The ids of each text; what many of them have between special tokens is encoded once."""
        if len(rendered) == 1 or self._special is None:
            split = [[text] for text in rendered]
        else:
            split = [[piece for piece in self._special.split(text) if piece] for text in rendered]
        pieces = list(dict.fromkeys(chain.from_iterable(split)))
        found = self.tokenizer(pieces, add_special_tokens=False)["input_ids"]
        ids = dict(zip(pieces, found, strict=True))
        return [list(chain.from_iterable(ids[piece] for piece in text)) for text in split]

    @cached_property
    def _special(self) -> re.Pattern[str] | None:
        """Finds special tokens; None where what is beside one may change how a text is encoded."""
        added = self.tokenizer.added_tokens_decoder.values()
        steps = json.loads(self.tokenizer.backend_tokenizer.to_str()) if self.is_byte_level else {}
        told = json.dumps([steps.get("normalizer"), steps.get("pre_tokenizer")])
        reaches_over = ("Metaspace", "Prepend", "Strip", '"add_prefix_space": true')
        if (
            not steps
            or any(one.lstrip or one.rstrip or one.single_word or one.normalized for one in added)
            or any(each in told for each in reaches_over)
        ):
            return None
        names = sorted((re.escape(one.content) for one in added), key=len, reverse=True)
        return re.compile(f"({'|'.join(names)})") if names else None

    def _fill(
        self, messages: Sequence[Message], texts: Sequence[str], add_generation_prompt: bool
    ) -> str:
        turns = [{"role": m.role, "content": c} for m, c in zip(messages, texts, strict=True)]
        return str(
            self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )

    def _join(self, rendered: str, marks: Sequence[str], texts: Sequence[str]) -> list[int]:
        """Ids in which a special token's *name* inside a message stays plain text.

        Otherwise an input that says "<|im_end|>" could end its own turn and speak as another role.
        """
        said = dict(zip(marks, texts, strict=True))
        ids: list[int] = []
        for piece in re.split(f"({_MARK.format(r'[0-9]+')})", rendered):  # templates may reorder
            ids += self._ids(said.get(piece, piece), split_special=piece in said)
        return ids

    def encode(self, text: str) -> list[int]:
        """The ids of what somebody said; the name of a special token in it stays text."""
        with self.lock:
            return self._ids(text, split_special=self._may_name_special(text))

    def _may_name_special(self, text: str) -> bool:
        return self.disguised or any(special in text for special in self.special_tokens)

    def _ids(self, text: str, *, split_special: bool) -> list[int]:
        return list(
            self.tokenizer(text, add_special_tokens=False, split_special_tokens=split_special)[
                "input_ids"
            ]
        )

    def completion_ids(self, text: str) -> list[int]:
        """The ids to go on from where there is no conversation: with what the model begins by."""
        with self.lock:
            return list(self.tokenizer(text)["input_ids"]) or [self.eos_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether the text of ids is that of their bytes, one after the other."""
        decoder = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "decoder", None)
        return type(decoder).__name__ == "ByteLevel"

    def is_byte_token(self, id: int) -> bool:
        """Whether the token is one byte of a character that has no token of its own."""
        return _BYTE_TOKEN.fullmatch(self._piece(id)) is not None

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token stands for in the text; none of a special one."""
        piece = self._piece(id)
        if id in self._unseen:
            return b""
        if self.is_byte_level:
            try:
                return bytes(_BYTES[character] for character in piece)
            except KeyError:  # an added token, which is text as it is
                return piece.encode()
        if found := _BYTE_TOKEN.fullmatch(piece):
            return bytes([int(found[1], 16)])
        return piece.replace("\u2581", " ").encode()

    @cached_property
    def _unseen(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)

    def _piece(self, id: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(int(id)))


@lru_cache(maxsize=8)
def load_tokenizer(folder: Path) -> LocalTokenizer:
    """The tokenizer in a Hugging Face folder; code that comes with a model is never run."""
    transformers = need("transformers", extra="local", what="a local model")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the tokenizer in {folder.name!r} cannot be loaded: {error}",
            hint="the folder needs tokenizer.json and tokenizer_config.json",
        ) from error
    if tokenizer.chat_template is None:
        raise ModelError(
            f"the model in {folder.name!r} has no chat template",
            hint="use an instruction-tuned model, or add a chat_template to tokenizer_config.json",
        )
    limit = tokenizer.model_max_length
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    special = tuple(sorted(tokenizer.get_added_vocab()))
    added = tokenizer.added_tokens_decoder.values()
    disguised = any(token.special and token.normalized for token in added)
    most = min(limit, 1 << 20)
    return LocalTokenizer(tokenizer, tokenizer.eos_token_id, pad, most, special, disguised)


def _byte_characters() -> dict[str, int]:
    """Byte-level vocabularies write a byte as one character: itself where it can be seen."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {
        chr(256 + place): byte for place, byte in enumerate(hidden)
    }


_BYTES = _byte_characters()


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    other = [part.kind for part in message.content if part.kind != "text"]
    if other:
        raise ModelError(
            f"a local text model cannot read {other[0]!r} parts",
            hint="give text, or a model that takes them",
        )
    return "".join(part.text for part in message.content)
