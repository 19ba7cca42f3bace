"""The commands of the server: `serve`, and `keys` to let callers in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_parts import AsJson, print_result
from .errors import StepladderError

if TYPE_CHECKING:
    from .serve.settings import ServeSettings

__all__ = ["keys_app", "serve"]

keys_app = typer.Typer(help="Keys of the server's callers.", no_args_is_help=True)
DatabaseUrl = Annotated[
    str | None, typer.Option("--database", help="sqlite:///PATH or postgresql://... [yours]")
]


class KeyRole(StrEnum):
    """What a key may do: each what the one before it may, and more."""

    use = "use"
    tune = "tune"
    admin = "admin"


class LogFormat(StrEnum):
    """The form of the server's log."""

    text = "text"
    json = "json"


def serve(  # noqa: PLR0913 (a command line's options)
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(help="task folders, folders of bundles, or bundles", metavar="[TASK]..."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="also this one, e.g. local:NAME; repeat")
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", help="another name, as gemini-3.5-flash=NAME; repeat"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="address to answer on [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="[8080]")] = None,
    database: DatabaseUrl = None,
    config: Annotated[Path | None, typer.Option(help="a serve.toml; flags go over it")] = None,
    no_content: Annotated[
        bool, typer.Option("--no-content", help="keep no text of requests and answers")
    ] = False,
    no_tuning: Annotated[
        bool, typer.Option("--no-tuning", help="train nothing on this machine")
    ] = False,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file; needs --tls-key")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key")] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="[text on a terminal, else json]")
    ] = None,
) -> None:
    """Answer OpenAI's and Gemini's protocols with your bundles and models, until stopped."""
    given = {"host": host, "port": port, "database": database,
             "tls_certificate": tls_certificate, "tls_key": tls_key,
             "log_format": log_format.value if log_format else None}  # fmt: skip
    settings = _with_flags(_from_file(config), given)
    settings = replace(
        settings,
        bundles=(*settings.bundles, *(bundles or ())),
        base_models=(*settings.base_models, *(model or ())),
        aliases={**settings.aliases, **dict(map(_alias, alias or ()))},
        keep_content=settings.keep_content and not no_content,
        tuning=settings.tuning and not no_tuning,
    )
    _check(settings)
    _run(settings)


@keys_app.command("add", epilog="Example: stepladder keys add --role tune --dollars-per-month 50")
def add(
    role: Annotated[KeyRole, typer.Option(help="what it may do")] = KeyRole.use,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="at each server [no limit]")
    ] = None,
    dollars_per_month: Annotated[
        float | None, typer.Option(min=0, help="for all servers together [no limit]")
    ] = None,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: this once, since only its hash is kept."""
    from .database import new_id
    from .serve.keys import hash_of, new_key

    key, id = new_key(), new_id()
    with _database(database) as kept:
        kept.add_key(
            id, hash_of(key), role.value, requests_per_minute, dollars_per_month, datetime.now(UTC)
        )
    print_result({"id": id, "key": key, "role": role.value}, as_json, key)
    if not as_json:
        typer.echo(f"its id is {id}; keep the key, it cannot be shown again", err=True)


@keys_app.command("list", epilog="Example: stepladder keys list")
def list_keys(database: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List the keys there are, without the keys themselves."""
    with _database(database) as kept:
        found = [
            {"id": one.id, "role": one.role, "requests_per_minute": one.requests_per_minute,
             "dollars_per_month": one.dollars_per_month, "created_at": one.created_at,
             "revoked_at": one.revoked_at}
            for one in kept.keys()  # noqa: SIM118 (a method of the database, not of a dict)
        ]  # fmt: skip
    lines = [
        f"{one['id']:<20} {one['role']:<6} {one['created_at']:%Y-%m-%d} "
        + (f"revoked {one['revoked_at']:%Y-%m-%d}" if one["revoked_at"] else "")
        for one in found
    ]
    print_result(found, as_json, "\n".join(map(str.rstrip, lines)) or "no keys")


@keys_app.command("revoke", epilog="Example: stepladder keys revoke 1234567890123456789")
def revoke(
    id: Annotated[str, typer.Argument(help="of the key, from `keys list`")],
    database: DatabaseUrl = None,
) -> None:
    """Let a key in no more; running servers know within seconds."""
    with _database(database) as kept:
        if not kept.revoke_key(id):
            raise StepladderError(
                f"no key in force has the id {id!r}", hint="see them: stepladder keys list"
            )
    typer.echo(f"revoked {id}")


# --- helpers ------------------------------------------------------------------------------------


def _from_file(config: Path | None) -> ServeSettings:
    from .serve.settings import ServeSettings

    if config is None:
        return ServeSettings()
    from .serve.serve_file import load_serve_file

    return load_serve_file(config)


def _with_flags(settings: ServeSettings, given: dict[str, Any]) -> ServeSettings:
    return replace(settings, **{name: one for name, one in given.items() if one is not None})


def _alias(text: str) -> tuple[str, str]:
    name, _, model = text.partition("=")
    if not name or not model:
        raise StepladderError(
            f"--alias {text!r} is not of the form NAME=MODEL",
            hint="for example: --alias gemini-3.5-flash=smollm2-135m-instruct",
        )
    return name, model


def _check(settings: ServeSettings) -> None:
    """Raise StepladderError for what cannot be served, before anything is loaded."""
    if not settings.bundles and not settings.base_models:
        raise StepladderError(
            "there is nothing to serve",
            hint="give a task folder with a deployed bundle, or a model: "
            "stepladder serve --model local:smollm2-135m-instruct",
        )
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise StepladderError(
            "--tls-certificate and --tls-key belong together", hint="give both or none"
        )
    for file in filter(None, (settings.tls_certificate, settings.tls_key)):
        if not file.is_file():
            raise StepladderError(f"there is no file {str(file)!r}", hint="give a PEM file")
    if settings.tls_certificate is not None and settings.tls_key is not None:
        _check_tls(settings.tls_certificate, settings.tls_key)


def _check_tls(certificate: Path, key: Path) -> None:
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # nobody is there to be asked for a password
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one
        raise StepladderError(
            f"{str(certificate)!r} and {str(key)!r} cannot be used for TLS: {error}",
            hint="give a certificate and its own key as PEM files, the key without a password",
        ) from error


def _run(settings: ServeSettings) -> None:
    from .registry import need

    for package in ("fastapi", "uvicorn", "sqlalchemy", "prometheus_client"):
        need(package, extra="serve", what="the server")
    from .serve.app import create_app
    from .serve.greeting import greeting
    from .serve.log import set_up_log
    from .serve.running import Running, listen, raise_open_files
    from .serve.server import open_server

    set_up_log(settings.log_format)
    raise_open_files()
    listening = listen(settings)  # before minutes of loading are spent on a port that is taken
    settings = replace(settings, port=listening.getsockname()[1])
    with listening, open_server(settings) as server:

        def greet() -> None:
            typer.echo(greeting(server), err=True)

        Running(create_app(server), server, on_ready=greet).answer_on(listening)


def _database(url: str | None) -> Any:
    from contextlib import closing

    from .database import open_database

    return closing(open_database(url))
