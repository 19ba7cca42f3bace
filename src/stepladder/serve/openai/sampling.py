"""What chats and plain completions share: how tokens are drawn, how many, and where to end."""

from __future__ import annotations

from ...models.live import Sampling
from .fields import Fields, wrong

__all__ = ["COMMON", "MOST_CANDIDATES", "read_count", "read_sampling", "read_stop", "read_usage"]

COMMON = frozenset({
    "model", "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "n",
    "stop", "max_tokens", "logit_bias", "stream", "stream_options", "user",
})  # fmt: skip
MOST_CANDIDATES = 128
MOST_SEED = 2**63
MOST_TOKENS = 2**31 - 1


def read_sampling(body: Fields) -> Sampling:
    """How tokens are drawn; what is not said is as OpenAI documents it: temperature and top_p 1."""
    biases = body.inner("logit_bias")
    if biases is not None and any(biases.given.values()):
        raise body.fault(
            "logit_bias", "is not offered by the engines of this server", hint="leave it out"
        )
    temperature = body.number("temperature", 0, 2)
    top_p = body.number("top_p", 0, 1)
    if top_p == 0:  # nothing but the most probable token is left
        temperature, top_p = 0.0, 1.0
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=body.whole("top_k", 1, MOST_TOKENS),
        presence_penalty=body.number("presence_penalty", -2, 2) or 0.0,
        frequency_penalty=body.number("frequency_penalty", -2, 2) or 0.0,
        seed=_seed(body),
    )


def read_count(body: Fields, name: str) -> int | None:
    """A number of tokens."""
    return body.whole(name, 1, MOST_TOKENS)


def read_stop(body: Fields) -> tuple[str, ...]:
    """Where to end: one string or up to four."""
    value = body.given.get("stop")
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > 4:
        raise wrong(body.at("stop"), "a string or a list of up to 4", value)
    for number, one in enumerate(value):
        if not isinstance(one, str) or not one:
            raise wrong(f"{body.at('stop')}[{number}]", "a string that is not empty", one)
    return tuple(value)


def read_usage(body: Fields, *, stream: bool) -> bool:
    """Whether a stream ends with what it took."""
    options = body.inner("stream_options")
    if options is None:
        return False
    if not stream:
        raise body.fault("stream_options", "is of use only with 'stream': true")
    options.known({"include_usage", "include_obfuscation"})
    options.flag("include_obfuscation")
    return options.flag("include_usage") is True


def _seed(body: Fields) -> int | None:
    """A seed that is not negative, as engines want it."""
    seed = body.whole("seed", -MOST_SEED, MOST_SEED - 1)
    return None if seed is None else seed % MOST_SEED
