"""What goes in comes out as it was, from either database; lists go on where they stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from making import AT, a_batch, a_call, a_job, a_model, a_prefix, a_remark, items_of

from stepladder.database import new_id
from stepladder.database.database import Database
from stepladder.database.records import Checkpoint
from stepladder.database.rows import NotKept
from stepladder.errors import StoreError


def test_ids_are_numbers_that_fit_everywhere() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(one.isdigit() and len(one) in (18, 19) and int(one) < 2**63 for one in made)


def test_a_job_with_all_its_fields(database: Database) -> None:
    job = a_job(
        pre_tuned="3",
        name="a name",
        options={"epochs": 3, "learning_rate_multiplier": 0.5, "none": None},
        request={"nested": [{"é": "字"}, 1.5, True, None]},
        checkpoints=(Checkpoint("1", 10, 0.5, "77", {"loss": 0.25}),),
        result_files=("8", "9"),
        error={"rows": [1, 2]},
        statistics={"tokens": 2**60},
        trained_tokens=2**62,
        created_at=AT + timedelta(microseconds=1),
    )
    database.add_job(job)
    assert database.job(job.id) == job


def test_everything_else_with_its_fields(database: Database) -> None:
    model, prefix, batch = a_model(default_checkpoint="2"), a_prefix(name="x"), a_batch(name="y")
    database.add_tuned(model)
    database.add_prefix(prefix)
    assert database.add_batch(batch, items_of(batch, 3)).total == 3
    assert database.tuned(model.id) == model
    assert database.prefix(prefix.id) == prefix
    assert database.items(batch.id) == items_of(batch, 3)
    call = a_call()
    database.record(call)
    remark = a_remark(call.id)
    database.add_feedback(remark)
    assert database.feedback(call.id) == [remark]


def test_times_come_back_in_utc(database: Database) -> None:
    tokyo = timezone(timedelta(hours=9))
    job = a_job(created_at=datetime(2026, 11, 22, 21, 0, 0, 5, tzinfo=tokyo))
    database.add_job(job)
    found = database.job(job.id)
    assert found is not None
    assert found.created_at == job.created_at
    assert found.created_at.tzinfo is UTC or found.created_at.utcoffset() == timedelta(0)


def test_what_is_not_there_is_none(database: Database) -> None:
    for id in ("1", "", "no such", "\0", "\ud800", "'; --", "9" * 5000):
        assert database.job(id) is None
        assert database.file(id) is None
        assert database.batch(id) is None
        assert database.tuned(id) is None
        assert database.prefix(id) is None
        assert database.served(id) is None
        assert database.change_job(id, state="failed") is None
        assert database.change_tuned(id, name="x") is None
        assert database.change_prefix(id, name="x") is None
        assert not database.keep_claim(id, id, 1)
        assert not database.delete_file(id)
        assert not database.delete_batch(id)
        assert not database.delete_tuned(id)
        assert not database.delete_prefix(id)
        assert not database.revoke_key(id)
        assert not database.finish_item(id, 0)
        assert database.items(id) == database.open_items(id) == []
        assert database.events(id) == []
        assert database.feedback(id) == []
        assert database.jobs(owner=id) == []
        with pytest.raises(NotKept):
            database.add_event(id, "info", "hello")
        with pytest.raises(NotKept):
            database.add_feedback(a_remark(id))
        with pytest.raises(NotKept):
            database.read_file(id)


def test_lists_go_on_where_they_stopped(database: Database) -> None:
    """Many made in the same instant: the id decides, and none is shown twice or left out."""
    jobs = [
        a_job(owner=owner, created_at=AT + timedelta(seconds=n // 4))
        for n in range(12)
        for owner in ("ann", "ben")
    ]
    for job in jobs:
        database.add_job(job)
    mine = sorted((j for j in jobs if j.owner == "ann"), key=lambda j: (j.created_at, j.id))
    seen: list[str] = []
    while shown := database.jobs(owner="ann", after=seen[-1] if seen else None, limit=5):
        seen += [job.id for job in shown]
        assert len(seen) <= len(mine), "some are shown again"
    assert seen == [job.id for job in reversed(mine)]
    assert len(database.jobs()) == 20
    assert len(database.jobs(protocol="vertex")) == 0
    assert database.jobs(limit=0) == []


def test_a_list_cannot_go_on_after_what_is_gone(database: Database) -> None:
    model = a_model()
    database.add_tuned(model)
    assert database.tuned_models(after=model.id) == []
    assert database.delete_tuned(model.id)
    for after in (model.id, "\0"):
        with pytest.raises(NotKept, match="go on after"):
            database.tuned_models(after=after)
    with pytest.raises(StoreError, match="limit"):
        database.tuned_models(limit=-1)


def test_files_are_listed_in_either_order(database: Database) -> None:
    made = [
        database.add_file(owner="ann", name=str(n), purpose="batch", media_type="", chunks=[])
        for n in range(3)
    ]
    made.sort(key=lambda file: file.id)
    assert database.files(purpose="batch", newest_first=False) == made
    assert database.files(owner="ann", after=made[2].id) == [made[1], made[0]]
    assert database.files(after=made[0].id, newest_first=False, limit=1) == [made[1]]
    assert database.files(purpose="fine-tune") == []


def test_events_are_numbered_per_job(database: Database) -> None:
    one, other = a_job(), a_job()
    database.add_job(one)
    database.add_job(other)
    for message in ("a", "b", "c"):
        database.add_event(one.id, "info", message, {"loss": 0.5})
    assert database.add_event(other.id, "warn", "x").number == 1
    assert [event.message for event in database.events(one.id)] == ["a", "b", "c"]
    assert [event.number for event in database.events(one.id, after=1)] == [2, 3]
    assert [event.number for event in database.events(one.id, newest_first=True)] == [3, 2, 1]
    assert [e.number for e in database.events(one.id, newest_first=True, after=3, limit=1)] == [2]


def test_changes_touch_only_what_they_name(database: Database, clock) -> None:
    model = a_model()
    database.add_tuned(model)
    clock.move(seconds=5)
    changed = database.change_tuned(model.id, name="new")
    assert changed is not None
    assert (changed.name, changed.labels, changed.updated_at) == ("new", model.labels, clock.now)
    assert database.tuned(model.id) == changed
    for wrong in ({"created_at": AT}, {"owner": "ben"}, {"nonsense": 1}):
        with pytest.raises(StoreError, match="cannot be changed") as told:
            database.change_tuned(model.id, **wrong)
        assert "description" in told.value.hint


def test_the_same_id_twice_is_refused(database: Database) -> None:
    job = a_job()
    database.add_job(job)
    with pytest.raises(StoreError):
        database.add_job(job)


def test_prefixes_expire(database: Database, clock) -> None:
    prefix = a_prefix(expires_at=clock.now + timedelta(minutes=5))
    database.add_prefix(prefix)
    clock.move(minutes=4)
    longer = database.change_prefix(prefix.id, expires_at=clock.now + timedelta(minutes=5))
    assert longer is not None
    clock.move(minutes=4)
    assert database.prefixes() == [longer]
    clock.move(minutes=1)
    assert database.prefix(prefix.id) is None
    assert database.prefixes() == []
    assert database.change_prefix(prefix.id, name="x") is None
    assert not database.delete_prefix(prefix.id)


def test_keys_are_kept_with_the_time_they_were_revoked_at(database: Database, clock) -> None:
    database.add_key("1", "aa", "use", 60, 1.5, clock.now)
    database.add_key("2", "bb", "admin", None, None, clock.now)
    found = database.keys()[0]
    assert found.revoked_at is None
    assert (found.id, found.role, found.requests_per_minute, found.dollars_per_month) == (
        "1", "use", 60, 1.5,
    )  # fmt: skip
    assert database.revoke_key("1")
    assert not database.revoke_key("1")
    every = database.keys()
    assert [(key.id, key.revoked_at) for key in every] == [("1", clock.now), ("2", None)]
    with pytest.raises(StoreError):
        database.add_key("3", "bb", "use", None, None, clock.now)
