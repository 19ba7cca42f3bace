"""`local:` models: the embedded one by name, a folder, a hub id, or a tuned model of this run.

One provider over two engines: OpenVINO's continuous batching where the model's family allows, plain
transformers anywhere else. Only one model is in memory at a time: the engines of two on the same
cores slow each other to a crawl.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...core import Message, Request, Response, Usage
from ...errors import ModelError
from .. import ProviderSettings
from .calling import Opened, called, opened_call
from .functions import plain_messages
from .signal_stack import restore_signal_stack, signal_stack
from .tokenizer import LocalTokenizer, load_tokenizer
from .weights import base_folder, cache_folder, in_cache

__all__ = ["LocalModel", "LocalProvider", "built_folder", "fingerprint", "open_provider"]

SCRATCH = "scratch/"  # local:scratch/<hash> had random weights: it is only ever what was tuned
TUNED = "tuned/"  # local:tuned/<hash> is the folder <hash>/model among the run's artefacts


def open_provider(settings: ProviderSettings) -> LocalProvider:
    """The provider of local models whose tuned models are among the run's artefacts."""
    return LocalProvider(settings.artifacts)


class LocalProvider:
    """Gives local models by name, and keeps the engine and the scorer of one model loaded."""

    def __init__(self, artifacts: Path, *, exact: bool = False) -> None:
        self.artifacts = artifacts
        self.exact = exact
        self._loaded: dict[tuple[str, str], Any] = {}
        self._models: dict[str, LocalModel] = {}
        self._signals = signal_stack()

    def model(self, name: str) -> LocalModel:
        """The model called `local:...`; raises ModelError when there is none."""
        if name not in self._models:
            self._models[name] = LocalModel(name, self._folder(name), self)
        return self._models[name]

    def _folder(self, name: str) -> Path:
        bare = name.removeprefix("local:")
        if not bare.startswith(TUNED):
            return base_folder(bare)
        identity = bare.removeprefix(TUNED)
        folder = self.artifacts / identity / "model"
        if not identity.isalnum() or not (folder / "config.json").is_file():
            raise ModelError(
                f"the tuned model {name!r} is not among this run's artefacts",
                hint="climb again to train it, or deploy from the run folder that has it",
            )
        return folder

    def engine(self, model: LocalModel) -> Any:
        """The engine for `model`, loaded if another one was there."""
        return self._load("engine", model, lambda: _engine(model, exact=self.exact))

    def scorer(self, model: LocalModel) -> Any:
        """The scorer of choices for `model`, loaded if another one was there.

        Raises ModelError for a model that runs through transformers.
        """
        from .scoring import ChoiceScorer

        if not _is_fast(model):
            raise ModelError(
                f"{model.name!r} runs through transformers here, which cannot score given answers",
                hint="let it generate (scoring = 'none'), or use a Llama-family model with "
                "pip install 'stepladder[local]'",
            )
        eos_id = model.tokenizer.eos_id
        return self._load(
            "scorer", model, lambda: ChoiceScorer(model.folder, eos_id=eos_id, exact=self.exact)
        )

    def close(self) -> None:
        """Free the memory of whatever is loaded."""
        self._unload(lambda name: True)

    def _load(self, what: str, model: LocalModel, make: Callable[[], Any]) -> Any:
        key = (what, model.name)
        if key not in self._loaded:
            # another model's goes first, so that only one model's weights are in memory at a time
            self._unload(lambda name: name != model.name)
            if not self._loaded:
                self._signals = signal_stack()
            self._loaded[key] = make()
        return self._loaded[key]

    def _unload(self, which: Callable[[str], bool]) -> None:
        gone = [key for key in self._loaded if which(key[1])]
        for key in gone:
            del self._loaded[key]
        if gone and not self._loaded:
            restore_signal_stack(self._signals)


class LocalModel:
    """A `Model` over weights on this machine."""

    def __init__(self, name: str, folder: Path, provider: LocalProvider) -> None:
        self.name = name
        self.folder = folder
        self._provider = provider
        self._tokenizer: LocalTokenizer | None = None

    @property
    def tokenizer(self) -> LocalTokenizer:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.folder)
        return self._tokenizer

    @property
    def context_tokens(self) -> int:
        """The most tokens that prompt and answer may have together."""
        return self.tokenizer.context_tokens

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the same name would answer differently: weights, template, precision."""
        return fingerprint(self.folder, exact=self._provider.exact)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(self.tokenizer.chat_ids(messages))

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        prompts = self.tokenizer.batch_chat_ids(
            [plain_messages(request.messages, request.functions) for request in requests]
        )
        fitting: list[int] = []
        for index, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
            if len(prompt) + request.max_output_tokens > self.context_tokens:
                yield index, self._too_long(len(prompt), request)
            else:
                fitting.append(index)
        scored = [index for index in fitting if requests[index].score_choices]
        plain = [index for index in fitting if not requests[index].score_choices]
        if scored:
            yield from self._score(scored, prompts, requests)
        if plain:
            yield from self._generate(plain, prompts, requests)

    def _generate(
        self, chosen: Sequence[int], prompts: Sequence[list[int]], requests: Sequence[Request]
    ) -> Iterator[tuple[int, Response]]:
        engine = self._provider.engine(self)
        opened: dict[int, tuple[Opened, Usage]] = {}
        for place, made in engine.run([prompts[i] for i in chosen], [requests[i] for i in chosen]):
            index = chosen[place]
            response = self._response(len(prompts[index]), made)
            call = opened_call(self.tokenizer, prompts[index], requests[index], made.ids)
            if call is None:
                yield index, response
            else:
                opened[index] = (call, response.usage)
        calls = [call for call, _ in opened.values()]
        again = engine.run([one.ids for one in calls], [one.request for one in calls])
        for place, made in again if calls else ():
            index = [*opened][place]
            call, usage = opened[index]
            said = self._response(len(call.ids), made)
            yield index, called(call, requests[index], usage, said)

    def _response(self, prompt_tokens: int, made: Any) -> Response:
        usage = Usage(
            self.name,
            input_tokens=prompt_tokens,
            output_tokens=len(made.ids) + (made.finish == "stop"),
            seconds=made.seconds,
            compute_seconds=made.compute_seconds,
        )
        text = self.tokenizer.decode(made.ids)
        return Response(text, usage, made.finish, made.logprob, (), made.error)

    def _score(
        self, chosen: Sequence[int], prompts: Sequence[list[int]], requests: Sequence[Request]
    ) -> Iterator[tuple[int, Response]]:
        scorer = self._provider.scorer(self)
        options = [[self.tokenizer.encode(c) for c in requests[i].choices] for i in chosen]
        for place, scores, seconds in scorer.run([prompts[i] for i in chosen], options):
            index = chosen[place]
            usage = Usage(self.name, len(prompts[index]), 0, None, seconds, seconds)
            yield index, Response("", usage, choice_logprobs=scores)

    def _too_long(self, tokens: int, request: Request) -> Response:
        message = (
            f"the prompt has {tokens} tokens and {request.max_output_tokens} are kept for the "
            f"answer, but {self.name} reads {self.context_tokens}"
        )
        return Response("", Usage(self.name, tokens), "error", error=message)


def _engine(model: LocalModel, *, exact: bool) -> Any:
    tokenizer = model.tokenizer
    if _is_fast(model):
        from .openvino_engine import OpenVINOEngine

        built = built_folder(model.folder, model.fingerprint)
        return OpenVINOEngine(built, eos_id=tokenizer.eos_id, exact=exact)
    from .transformers_engine import TransformersEngine

    return TransformersEngine(
        model.folder, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id, exact=exact
    )


def fingerprint(folder: Path, *, exact: bool) -> str:
    """Changes when the model in `folder` would answer differently."""
    digest = hashlib.sha256(b"exact" if exact else b"bf16")
    names = ["config.json", "tokenizer.json", "tokenizer_config.json"]
    for file in [*names, *sorted(path.name for path in folder.glob("*.safetensors"))]:
        if (folder / file).is_file():
            with (folder / file).open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def built_folder(folder: Path, identity: str) -> Path:
    """The OpenVINO form of the model in `folder` with that fingerprint, kept in the cache."""
    from .graph import GRAPH
    from .ir import engine_folder

    with in_cache():
        return engine_folder(folder, cache_folder() / "engines" / f"{identity}-{GRAPH}")


def _is_fast(model: LocalModel) -> bool:
    """Whether OpenVINO is installed and our graph is right for this model."""
    from importlib.util import find_spec

    from .ir import supports

    return find_spec("openvino_genai") is not None and supports(model.folder)
