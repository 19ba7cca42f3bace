"""serve.toml: every option is read, and a wrong one is told with its line."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from stepladder.core import Hardware
from stepladder.errors import StepladderError
from stepladder.serve.serve_file import ServeFile, load_serve_file
from stepladder.serve.settings import ServeSettings

ALL = """
bundles = ["tasks/a"]
base_models = ["local:smollm2-135m-instruct"]
host = "0.0.0.0"
port = 80
database = "postgresql://user@host/name"
keep_content = false
retention_days = 0
most_running = 8
queue = 0
request_bytes = 4096
file_bytes = 8192
adapter_cache_bytes = 16384
request_seconds = 9.5
shutdown_seconds = 3
tls_certificate = "cert.pem"
tls_key = "/etc/key.pem"
fetch_hosts = ["files.test", "*.files.test:8443"]
fetch_http = true
gs_folder = "gs"
tuning = false
otlp_endpoint = "http://127.0.0.1:4318"
log_format = "json"

[aliases]
"gemini-3.5-flash" = "smollm2-135m-instruct"

[hardware]
dollars_per_hour = 0.2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "serve.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_option(tmp_path: Path) -> None:
    found = load_serve_file(write(tmp_path, ALL))
    plain = ServeSettings()
    assert [one.name for one in fields(plain)
            if getattr(found, one.name) == getattr(plain, one.name)] == []  # fmt: skip
    assert found.bundles == (tmp_path / "tasks/a",)
    assert found.tls_certificate == tmp_path / "cert.pem"
    assert found.tls_key == Path("/etc/key.pem")
    assert found.retention_days is None
    assert found.aliases == {"gemini-3.5-flash": "smollm2-135m-instruct"}
    assert found.hardware == Hardware(dollars_per_hour=0.2)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_serve_file(write(tmp_path, "")) == ServeSettings()


def test_the_file_has_what_the_settings_have() -> None:
    assert {one.name for one in fields(ServeSettings)} == set(ServeFile.model_fields)


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("a = 1\nqueu = 3", "serve.toml:2: 'queu' is not an option", "did you mean 'queue'?"),
        ("port = 'x'", "serve.toml:1: port: should be a valid integer", "port = 8080"),
        ("port = 70000", "serve.toml:1: port: should be less", "port = 8080"),
        ("\nbase_models = ['smollm2']", "serve.toml:2: base_models.0: 'smollm2' does not say",
         'base_models = ["local:'),
        ("fetch_hosts = ['https://a.test']", "fetch_hosts.0: 'https://a.test' is not a host",
         "fetch_hosts = "),
        ("[hardware]\nnam = 'x'", "serve.toml:2: 'hardware.nam'", "did you mean 'name'?"),
        ("tls_key = 'a'", "belong together", ""),
        ("port = ", "serve.toml: not TOML", "quotes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str, told: str, hint: str
) -> None:
    with pytest.raises(StepladderError) as error:
        load_serve_file(write(tmp_path, text))
    assert told in error.value.message
    assert hint in error.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StepladderError, match="cannot be read"):
        load_serve_file(tmp_path / "none.toml")


def test_urls_to_paste() -> None:
    assert ServeSettings(host="0.0.0.0", port=80).url == "http://127.0.0.1:80"
    assert ServeSettings(host="::1").url == "http://[::1]:8080"
    assert ServeSettings(tls_certificate=Path("c")).url == "https://127.0.0.1:8080"
