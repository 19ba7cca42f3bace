"""What the server says when it is ready: what is served where, and lines to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Caller, ModelCard

if TYPE_CHECKING:
    from .server import Server

__all__ = ["greeting"]

ALL = Caller("local", "admin")


def greeting(server: Server) -> str:
    """The lines, with a command and a snippet for each SDK that work as they are."""
    settings = server.settings
    cards = server.models.list(ALL)
    closed = server.keyring.closed
    key = "$STEPLADDER_API_KEY" if closed else "none"
    answering = next((card for card in cards if card.kind != "encoder"), None)
    lines = [f"serving on {settings.url}", *map(_line, cards)]
    lines += [f"  {alias} is {model}" for alias, model in sorted(settings.aliases.items())]
    lines.append("keys are asked for" if closed else "no key is asked for: this machine only")
    if answering is not None:
        lines += ["", *_snippets(settings.url, answering.name, key)]
    return "\n".join(lines)


def _line(card: ModelCard) -> str:
    version = f" {card.version[:12]}" if card.version else ""
    return f"  {card.name} ({card.kind}{version})"


def _snippets(url: str, model: str, key: str) -> list[str]:
    python = "os.environ['STEPLADDER_API_KEY']" if key != "none" else "'none'"
    return [
        f"curl {url}/v1/chat/completions -H 'content-type: application/json' \\",
        f'  -H "authorization: Bearer {key}" \\',
        f'  -d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\'',
        "",
        f"openai.OpenAI(base_url='{url}/v1', api_key={python})",
        f"genai.Client(api_key={python}, http_options={{'base_url': '{url}'}})",
        f"genai.Client(enterprise=True, project='any', location='us-central1', api_key={python},",
        f"             http_options={{'base_url': '{url}'}})  # as at Vertex",
    ]
