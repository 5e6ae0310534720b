"""The record of who did what."""

from datetime import timedelta
from hashlib import md5

import pytest

from opensessions.access.audit import KEPT, Actor, Audit, Entry
from opensessions.errors import InvalidRequest
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, create

DAY = timedelta(days=1)
KEY = Actor(kind="key", id="key_1", name="ci", scope="write")


@pytest.fixture
def audit(engine: Engine) -> Audit:
    return engine.audit()


def made(number: int = 0, account: str = "acme", seconds: float = 0, **fields: object) -> Entry:
    told = {"id": md5(str(number).encode()).hexdigest(), "account": account, "by": KEY, "result": 201}
    told |= {"action": "create_session", "target": f"session_{number}", "user_id": "u1", "ip": "192.0.2.1"}
    return Entry.model_validate(told | {"at": START + timedelta(seconds=seconds)} | fields)


def everything(audit: Audit, account: str = "acme", limit: int = 100) -> list[Entry]:
    found, cursor = [], None
    while True:
        page = audit.page(account, START - 2 * KEPT, START + DAY, limit, cursor)
        assert len(page.entries) <= limit
        found += page.entries
        cursor = page.cursor
        if cursor is None:
            return found


def test_entries_are_of_an_account_newest_first(engine: Engine, audit: Audit) -> None:
    entries = [made(number, seconds=number // 2) for number in range(7)]
    token = Actor(kind="token", scope="read", session_id="session_1")
    entries[3] = entries[3].model_copy(update={"by": token, "target": None, "user_id": None, "ip": None})
    for entry in (*entries, made(1, "acme2"), made(2, "acm")):
        audit.add(entry)
    wanted = sorted(entries, key=lambda entry: entry.position, reverse=True)
    for limit in (1, 2, 3, 7, 8):
        assert everything(engine.audit(), limit=limit) == wanted
    assert everything(audit, "other") == []


def test_a_time_begins_with_its_first_moment_and_ends_before_its_last(audit: Audit) -> None:
    entries = [made(number, seconds=number) for number in range(5)]
    for entry in entries:
        audit.add(entry)
    page = audit.page("acme", entries[1].at, entries[3].at, 10, None)
    assert list(page.entries) == entries[2:0:-1] and page.cursor is None
    assert not audit.page("acme", entries[3].at, entries[1].at, 10, None).entries


def test_the_same_entry_again_is_one(audit: Audit) -> None:
    for _ in range(3):
        audit.add(made())
    audit.add(made(seconds=60))
    assert len(everything(audit)) == 2


def test_an_entry_stays_when_its_session_goes_and_ends_after_a_year(
    engine: Engine, store: SessionStore, audit: Audit
) -> None:
    session = create(store)
    entry = made(target=session.id)
    audit.add(entry)
    store.purge(session.id)
    assert everything(audit) == [entry]
    engine.clock.advance(days=366)
    audit.add(made(2, "other", seconds=366 * 86_400))
    assert everything(audit) == []


def test_a_cursor_of_another_list_is_refused(audit: Audit) -> None:
    for number in range(2):
        audit.add(made(number))
    cursor = audit.page("acme", START, START + DAY, 1, None).cursor
    assert cursor
    for account, wrong in (("acme", "x"), ("acme", cursor[:-3]), ("other", cursor)):
        with pytest.raises(InvalidRequest):
            audit.page(account, START, START + DAY, 1, wrong)
