"""A crash between any two calls, of any door: whatever was cut short is mended by the sweep."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opensessions.archives import LISTING
from opensessions.events import Restored
from opensessions.models import NewSession, SandboxStatus, Session, Status
from opensessions.money.ledger import Amounts
from opensessions.sessions.keeping import place
from tests.calling import call
from tests.fakes import World, world

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


class Crash(BaseException):
    """The process dies here."""


class Calls:
    """Counts calls of several doors, and has the process die instead of the `nth`."""

    def __init__(self, nth: int) -> None:
        self.nth, self.made = nth, 0

    def count(self) -> None:
        self.made += 1
        if self.made == self.nth:
            raise Crash


class Crashing:
    """Passes calls on to `inner`, those counted that change something."""

    def __init__(self, inner: Any, names: set[str], calls: Calls) -> None:
        self._inner, self._names, self._calls = inner, names, calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name not in self._names:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.count()
            return real(*args, **kwargs)

        return call


def broken(here: World, nth: int) -> tuple[World, Calls]:
    """The same world, and a process in it that dies at its `nth` call."""
    calls = Calls(nth)
    doors: dict[str, Any] = {
        "store": Crashing(here.store, {"commit", "purge", "put_template"}, calls),
        "runtime": Crashing(here.runtime, {"launch", "stop"}, calls),
        "blobs": Crashing(here.blobs, {"put", "copy", "delete"}, calls),
        "ledger": Crashing(here.ledger, {"reserve", "settle", "record", "purge"}, calls),
    }
    return World(folder=here.folder, clock=here.clock, hooks=here.hooks, **doors), calls


def scenario(here: World) -> None:
    """All that can happen to a session, in one life."""
    session = here.service.create("acme", NewSession(prompt="x", user_id="u1"), "key")
    here.say(session)
    call(here, session, 10)
    here.keep_turn(session)
    here.keep_turn(here.service.send("acme", session.id, "u1", "more", "key2"))
    here.sleep(session)
    here.testimony.wanted(session.id)
    here.catch_up()
    here.say(session)
    asked = here.service.restore("acme", session.id, 1).head.asked_seq
    here.say(session, Restored(version=1, inbox_seq=asked))
    lose(here, session)
    here.service.send("acme", session.id, "u1", "again", "key3")
    lose(here, session)
    here.catch_up()
    here.keep_turn(session)
    here.clock.tick(40)
    here.say(session)
    here.clock.tick(570)
    here.say(session)
    here.supervisor.sweep(FOREVER)
    here.fall_asleep(session)
    here.supervisor.sweep(FOREVER)
    here.service.restore("acme", session.id, 2)
    here.service.purge("acme", session.id)


def lose(here: World, session: Session) -> None:
    here.runtime.live.clear()
    here.supervisor.sandbox_stopped(session.sandbox_id, here.now(session).launch, "Gone.")


def mend(here: World, late: bool) -> None:
    """Time passes, and no sandbox says another word. What is put off gets lost now and then."""
    for n, seconds in enumerate((30, 61, 61, 4000, 61, 4000, 61, 4000, 61, 4000)):
        here.clock.tick(seconds)
        here.supervisor.sweep()
        if late and n % 2:
            here.put_off.clear()
        here.catch_up()


def check(here: World, session: Session) -> None:
    """It costs nothing any more, and what it has is whole."""
    assert not session.live, "a session that nobody runs must not count as live"
    assert session.due_at is None
    seqs = [event.seq for event in here.store.events(session.id, 0, 100)]
    assert seqs == list(range(1, session.head.last_seq + 1))
    check_books(here, session)
    if session.head.status is not Status.ENDED:  # else its purge was cut short, anywhere
        check_kept(here, session)


def check_books(here: World, session: Session) -> None:
    """What was used adds up on every meter, and no call is open."""
    assert here.ledger.open_calls(session.id, FOREVER) == []
    turns = sum(here.metering.turns(session.id).values(), Amounts())
    whole = here.metering.used(session)
    assert (turns.tokens, turns.nanodollars, turns.calls) == (whole.tokens, whole.nanodollars, whole.calls)
    [by_user, by_day] = [here.metering.usage.report("acme", None, None, user, "day") for user in ("u1", None)]
    assert by_user.total == by_day.total
    if session.head.status is not Status.ENDED:
        assert by_user.total == whole


def check_kept(here: World, session: Session) -> None:
    for _, archive_id in here.kept(session):
        names = here.blobs.names(place(session.id, archive_id))
        assert {*names} == {"0", str(LISTING), "manifest"}
    numbers = [version.number for version in here.store.versions(session.id, 0, 100)]
    assert numbers == list(range(1, session.versions + 1))
    assert session.version <= session.versions
    for number in numbers:
        assert here.service.diff(session.id, number) == "+Make it blue"


def works(here: World, session: Session) -> None:
    """It can be woken, and then it is as any other."""
    version = session.versions
    session = here.service.send("acme", session.id, "u1", "Are you there?")
    assert here.keep_turn(session).head.status is Status.READY
    assert here.now(session).versions == version + 1
    assert here.sleep(session).head.sandbox_status is SandboxStatus.HIBERNATED
    here.service.purge("acme", session.id)


LENGTH = 82
"""How many calls the scenario makes."""


def test_the_scenario_itself(here: World) -> None:
    whole, calls = broken(here, nth=0)
    scenario(whole)
    assert calls.made == LENGTH
    assert here.blobs.names("sessions") == []


@pytest.mark.parametrize("nth", range(1, LENGTH + 1))
def test_a_crash_between_any_two_calls_is_mended(tmp_path: Path, nth: int) -> None:
    here = world(tmp_path)
    with pytest.raises(Crash):
        scenario(broken(here, nth)[0])
    mend(here, late=nth % 2 == 0)
    left = here.service.page("acme", None, None, 10, None).sessions
    for session in left:
        check(here, session)
    assert here.runtime.live == {} and here.runtime.doubled == []
    session = here.service.create("acme", NewSession(prompt="x", user_id="u1"), "key")
    assert not left or session.id == left[0].id
    if session.head.status is not Status.ENDED:
        works(here, here.now(session))
    else:
        here.service.purge("acme", session.id)
    assert here.store.get(session.id) is None and here.blobs.names("sessions") == []
    for _ in range(3):
        here.create()
    here.store.close()  # type: ignore[attr-defined]
