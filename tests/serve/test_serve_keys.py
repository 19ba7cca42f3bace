"""Keys: who may call, how often, for how much; and that the key itself is nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest

from stepladder.database import new_id, open_database
from stepladder.database.records import Served
from stepladder.serve import Caller, Refusal
from stepladder.serve.app import create_app
from stepladder.serve.keys import Keyring, hash_of, key_in, need_role, new_key
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Any]:
    database = open_database(f"sqlite:///{tmp_path / 'keys.db'}")
    yield database
    database.close()


def add(
    database: Any, role: str = "use", rate: int | None = None, dollars: float | None = None
) -> Any:
    key, id = new_key(), new_id()
    database.add_key(id, hash_of(key), role, rate, dollars, NOW)
    return key, id


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_without_any_key_the_machine_itself_is_admin(database: Any) -> None:
    assert await Keyring(database, open_without_keys=True).caller(None) == Caller("local", "admin")
    with pytest.raises(Refusal):
        await Keyring(database).caller(None)


async def test_a_server_that_had_a_key_never_opens_again(database: Any) -> None:
    clock = Clock()
    _, id = add(database)
    keyring = Keyring(database, open_without_keys=True, clock=clock)
    database.revoke_key(id)
    keyring.read()
    with pytest.raises(Refusal):
        await keyring.caller(None)
    with pytest.raises(Refusal):
        await Keyring(database, open_without_keys=True).caller(None)


async def test_roles(database: Any) -> None:
    key, id = add(database, "tune")
    caller = await Keyring(database).caller(key)
    assert caller == Caller(id, "tune")
    need_role(caller, "use")
    need_role(caller, "tune")
    with pytest.raises(Refusal) as refused:
        need_role(caller, "admin")
    assert refused.value.reason == "forbidden"


@pytest.mark.parametrize("wrong", ["", "no", "sl-", "ü", "\ud800"])
async def test_a_wrong_key_is_nobody(database: Any, wrong: str) -> None:
    add(database)
    with pytest.raises(Refusal) as refused:
        await Keyring(database).caller(wrong)
    assert refused.value.status == 401


async def test_the_key_of_the_environment_is_an_admin(database: Any) -> None:
    keyring = Keyring(database, "from-the-environment", open_without_keys=True)
    assert (await keyring.caller("from-the-environment")).role == "admin"
    with pytest.raises(Refusal):
        await keyring.caller("from-the-environmenT")


async def test_the_first_key_closes_a_server_to_the_very_next_caller(database: Any) -> None:
    clock = Clock()
    keyring = Keyring(database, open_without_keys=True, clock=clock)
    assert (await keyring.caller(None)).id == "local"
    add(database)
    clock.now += 6
    with pytest.raises(Refusal):
        await keyring.caller(None)


async def test_an_open_server_stays_so_while_its_database_is_away(database: Any) -> None:
    clock = Clock()
    keyring = Keyring(database, open_without_keys=True, clock=clock)
    database.close()
    clock.now += 6
    assert (await keyring.caller(None)).id == "local"


async def test_new_keys_are_known_at_once_and_revoked_ones_soon_forgotten(database: Any) -> None:
    clock = Clock()
    keyring = Keyring(database, clock=clock)
    key, id = add(database)
    clock.now += 1
    assert (await keyring.caller(key)).id == id
    database.revoke_key(id)
    assert (await keyring.caller(key)).id == id  # no database is asked for a known key
    clock.now += 6
    await keyring.caller(key)  # this one begins the reading anew
    for _ in range(100):
        await anyio.sleep(0.01)
        if keyring._reading is not None and keyring._reading.done():
            break
    with pytest.raises(Refusal):
        await keyring.caller(key)


async def test_requests_a_minute(database: Any) -> None:
    clock = Clock()
    key, _ = add(database, rate=3)
    keyring = Keyring(database, clock=clock)
    caller = await keyring.caller(key)
    for _ in range(3):
        keyring.count_request(caller)
    with pytest.raises(Refusal) as refused:
        keyring.count_request(caller)
    assert (refused.value.reason, refused.value.retry_after_seconds) == ("rate_limited", 20.0)
    clock.now += 20
    keyring.count_request(caller)
    clock.now += 6000  # a long silence saves up no more than a minute's worth
    for _ in range(3):
        keyring.count_request(caller)
    with pytest.raises(Refusal):
        keyring.count_request(caller)


def _served(key: str, dollars: float, at: datetime) -> Served:
    return Served(new_id(), at, key, "openai", "/r", "m", "1", 200, 1.0, dollars=dollars)


async def test_dollars_a_month(database: Any, tmp_path: Path) -> None:
    key, id = add(database, dollars=1.0)
    database.record(_served(id, 5.0, datetime(2026, 10, 31, 23, tzinfo=UTC)))
    database.record(_served(id, 0.4, NOW))
    database.close()  # which writes what waits
    with closing(open_database(f"sqlite:///{tmp_path / 'keys.db'}")) as again:
        keyring = Keyring(again, today=lambda: NOW)
        caller = await keyring.caller(key)
        await keyring.check_budget(caller)
        keyring.spend(id, 0.5)
        await keyring.check_budget(caller)
        keyring.spend(id, 0.1)
        with pytest.raises(Refusal) as refused:
            await keyring.check_budget(caller)
    assert refused.value.detail == "budget"
    assert refused.value.retry_after_seconds == 8.5 * 86_400  # until the first of December


def test_where_a_key_may_stand() -> None:
    def scope(*headers: tuple[bytes, bytes], query: bytes = b"") -> dict[str, Any]:
        return {"headers": [*headers], "query_string": query}

    assert key_in(scope((b"authorization", b"Bearer abc"))) == "abc"
    assert key_in(scope((b"authorization", b"bearer abc"))) == "abc"
    assert key_in(scope((b"authorization", b"Basic abc"))) is None
    assert key_in(scope((b"x-goog-api-key", b"abc"))) == "abc"
    assert key_in(scope(query=b"alt=sse&key=a%2Bc")) == "a+c"
    assert key_in(scope((b"authorization", b"Bearer abc"), (b"x-goog-api-key", b"def"))) == "def"
    assert key_in(scope(query=b"monkey=1")) is None


async def test_a_key_is_in_no_log_no_metric_and_no_record(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    key, id = add(server.database)
    server.keyring.read()
    transport = httpx.ASGITransport(create_app(server))
    with caplog.at_level("INFO", "stepladder.serve"):
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
            path = "/v1beta/models/fake:generateContent"
            good = await client.post(f"{path}?key={key}&alt=json", json=body)
            wrong = await client.post(f"{path}?key=sl-wrong-{key}", json=body)
            metrics = await client.get("/metrics", headers={"x-goog-api-key": key})
    assert (good.status_code, wrong.status_code, metrics.status_code) == (200, 401, 403)
    record = server.database.served(good.headers["x-request-id"])
    assert record is not None
    assert record.key == id
    told = "\n".join([wrong.text, metrics.text, repr(record), server.meters.text().decode()])
    lines = "\n".join(f"{each.getMessage()} {each.__dict__}" for each in caplog.records)
    assert "generateContent?key=...&alt=json" in lines
    assert key not in told + lines
