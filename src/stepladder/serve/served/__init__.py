"""What is served: base models, tuned ones, bundles and encoders, each as a `ServedModel`.

`directory.py` finds them by name; the other files are one kind each. No protocol and no key is
known here.
"""

from __future__ import annotations

from .. import Refusal

__all__ = ["PromptTooLong"]


class PromptTooLong(Refusal):
    """The prompt leaves no room for an answer. `tokens` it has, `context_tokens` fit.

    `at_least`: so many or more, since it was too long to be counted.
    """

    def __init__(
        self, name: str, tokens: int, context_tokens: int, *, param: str, at_least: bool = False
    ) -> None:
        super().__init__(
            "invalid",
            f"the prompt has {'at least ' if at_least else ''}{tokens} tokens, and {name!r} takes "
            f"at most {context_tokens} tokens of prompt and answer together",
            hint="send less, or ask a model with a longer context",
            param=param,
            detail="context_length",
        )
        self.tokens = tokens
        self.context_tokens = context_tokens
