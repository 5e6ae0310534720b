"""A session's events reach its webhooks in order, each until it is taken or dead."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from opensessions.events import Assistant, SandboxReady
from opensessions.models import NewHook, Session
from opensessions.webhooks.deliveries import LEASE, RUN, Deliveries, Outcome, delivery_id
from opensessions.webhooks.hooks import Errand, Hook
from tests.fakes import World, world

DOWN = Outcome("It answered 500.")
GONE = Outcome("It answered 410.", gone=True)
TAKEN = Outcome(None)


@dataclass
class Receiver:
    """Takes what it is posted, unless `answer` says otherwise for a number."""

    answer: Callable[[int], Outcome] = lambda seq: TAKEN
    tried: list[int] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def __call__(self, hook: Hook, delivery_id: str, body: str) -> Outcome:
        told = json.loads(body)
        self.tried.append(told["data"]["seq"])
        self.bodies.append(told)
        self.ids.append(delivery_id)
        return self.answer(told["data"]["seq"])


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    made = world(tmp_path)
    yield made
    made.store.close()  # type: ignore[attr-defined]


def put(here: World, *events: str, **more: Any) -> Hook:
    return here.service.webhooks.create("acme", "https://example.com/", events or ["*"], **more)


def courier(here: World, receiver: Receiver) -> Deliveries:
    return Deliveries(
        here.store, here.hooks, receiver, clock=here.clock, send=lambda *sent: here.errands.append(sent)
    )


def run(here: World, receiver: Receiver) -> None:
    """All errands that are to be run at once, until there are none."""
    deliveries = courier(here, receiver)
    while errand := next((each for each in here.errands if not each[1]), None):
        here.errands.remove(errand)
        deliveries.run(errand[0])


def later(here: World, receiver: Receiver, seconds: float) -> None:
    """What is due after so many seconds."""
    here.clock.tick(seconds)
    here.errands.clear()
    here.dispatch.sweep()
    run(here, receiver)


def stored(here: World, session: Session) -> list[int]:
    return [event.seq for event in here.store.events(session.id, 0, 1000)]


def test_everything_is_told_in_order_and_once(here: World) -> None:
    hook, receiver = put(here), Receiver()
    session = here.create(metadata={"plan": "pro"})
    run(here, receiver)
    here.turn(session)
    run(here, receiver)
    assert receiver.tried == stored(here, session) and len(receiver.tried) > 4
    assert receiver.ids == [delivery_id(hook.id, session.id, seq) for seq in receiver.tried]
    assert len(set(receiver.ids)) == len(receiver.ids)
    assert receiver.bodies[0] == {
        "type": "session.session_started",
        "timestamp": "2026-11-24T12:00:00.000Z",
        "data": {
            "session_id": session.id,
            "user_id": "u1",
            "seq": 1,
            "event_type": "session_started",
            "status": "running",
            "metadata": {"plan": "pro"},
        },
    }
    assert receiver.bodies[-1]["data"]["status"] == "ready"


def test_a_webhook_is_told_of_what_it_asked_for(here: World) -> None:
    put(here, "turn_complete")
    receiver = Receiver()
    session = here.create()
    assert not here.errands, "nothing of that is for it"
    here.turn(session)
    run(here, receiver)
    assert [body["data"]["event_type"] for body in receiver.bodies] == ["turn_complete"]


def test_sessions_that_were_there_before_are_not_told_of(here: World) -> None:
    receiver, session = Receiver(), here.create()
    put(here)
    here.turn(session)
    run(here, receiver)
    assert not receiver.tried


def test_of_its_own_webhook_another_session_tells_nothing(here: World) -> None:
    receiver = Receiver()
    session = here.create(hook=NewHook(url="https://example.com/"))
    here.create()
    run(here, receiver)
    assert {body["data"]["session_id"] for body in receiver.bodies} == {session.id}
    own = here.service.webhooks.of_session(session)
    assert own and own.session_id == session.id
    here.service.purge("acme", session.id)
    assert here.hooks.get(own.id) is None


def test_what_fails_holds_up_its_own_session_alone(here: World) -> None:
    put(here)
    failing = here.create()
    receiver = Receiver(lambda seq: DOWN)
    run(here, receiver)
    here.turn(failing)
    receiver.answer = lambda seq: TAKEN
    other = here.create()
    run(here, receiver)
    told = [body["data"]["session_id"] for body in receiver.bodies]
    assert told == [failing.id, other.id, other.id], "whose next try is not due, and whose nothing is wrong"
    later(here, receiver, 5)
    assert receiver.tried[3:] == stored(here, failing)


def test_an_event_is_tried_eight_times_within_a_day_and_kept_then(here: World) -> None:
    hook, receiver = put(here, "session_started"), Receiver(lambda seq: DOWN)
    session = here.create()
    began, tries = here.clock.now, []
    run(here, receiver)
    while here.hooks.due(here.clock.now + timedelta(days=2), 1):
        count = len(receiver.tried)
        later(here, receiver, 5)
        tries += [here.clock.now - began] * (len(receiver.tried) - count)
        assert here.clock.now - began < timedelta(days=1)
        if len(receiver.tried) > 2:
            here.clock.tick(595)  # no need to look every 5 s for hours
    assert receiver.tried == [1] * 8 and tries[0] == timedelta(seconds=5)
    assert timedelta(hours=23) < tries[-1] < timedelta(hours=24)
    [letter] = here.service.webhooks.dead("acme", hook.id, ("", 0), 10)
    assert (letter.session_id, letter.seq, letter.attempts) == (session.id, 1, 8)
    assert (letter.event_type, letter.error) == ("session_started", "It answered 500.")


def test_after_a_day_of_failures_what_follows_gets_two_tries(here: World) -> None:
    hook, receiver = put(here), Receiver(lambda seq: DOWN)
    session = here.create()
    here.say(session, *(SandboxReady() for _ in range(4)))
    run(here, receiver)
    day = here.clock.now + timedelta(hours=24)
    while here.clock.now < day:
        later(here, receiver, 600)
    tried = len(receiver.tried)
    current = receiver.tried[-1]
    later(here, receiver, 5)
    later(here, receiver, 5)
    assert receiver.tried[tried:] == [current, current + 1, current + 1, current + 2]
    receiver.answer = lambda seq: TAKEN
    later(here, receiver, 5)
    dead = [letter.seq for letter in here.hooks.letters(hook.id, ("", 0), 10)]
    assert dead == list(range(1, current + 2)) and receiver.tried[-1] == 6
    receiver.answer = lambda seq: DOWN
    here.say(session, Assistant(message={"content": "Hi"}))
    run(here, receiver)
    later(here, receiver, 5)
    later(here, receiver, 300)
    assert receiver.tried.count(7) == 3, "it has succeeded meanwhile, so there is time again"


def test_waits_of_a_quarter_of_an_hour_are_sent_longer_ones_left_to_the_sweep(here: World) -> None:
    put(here, "session_started")
    receiver, session = Receiver(lambda seq: DOWN), here.create()
    run(here, receiver)
    errand = Errand(session.hooks[0].hook_id, session.id)
    assert here.errands == [(errand, 5)]
    later(here, receiver, 5)
    assert here.errands == [(errand, 300)]
    later(here, receiver, 300)
    assert here.errands == []


def test_410_switches_it_off_for_all_sessions(here: World) -> None:
    hook, receiver = put(here), Receiver(lambda seq: GONE)
    here.create()
    here.create()
    run(here, receiver)
    assert receiver.tried == [1]
    assert here.service.webhooks.get("acme", hook.id).off == "The receiver answered 410."
    here.create()
    run(here, receiver)
    assert receiver.tried == [1] and not here.hooks.letters(hook.id, ("", 0), 10)


def test_a_deleted_webhook_is_told_nothing(here: World) -> None:
    hook, receiver = put(here), Receiver()
    here.create()
    here.service.webhooks.delete("acme", hook.id)
    run(here, receiver)
    assert not receiver.tried


def test_a_dead_letter_is_tried_once_more_when_it_is_asked_for(here: World) -> None:
    hook, receiver = put(here, "session_started"), Receiver(lambda seq: DOWN)
    session = here.create()
    run(here, receiver)
    while not here.hooks.letters(hook.id, ("", 0), 1):
        later(here, receiver, 600)
    webhooks = here.service.webhooks
    assert webhooks.redeliver("acme", hook.id, session.id, 1) == 1
    run(here, receiver)
    [letter] = webhooks.dead("acme", hook.id, ("", 0), 10)
    assert letter.attempts == 9
    receiver.answer = lambda seq: TAKEN
    assert webhooks.redeliver("acme", hook.id) == 1
    run(here, receiver)
    assert not webhooks.dead("acme", hook.id, ("", 0), 10)
    assert len(set(receiver.ids)) == 1, "every try has the same id"


def test_a_purged_session_leaves_nothing(here: World) -> None:
    hook, receiver = put(here), Receiver(lambda seq: DOWN)
    session = here.create()
    run(here, receiver)
    here.service.purge("acme", session.id)
    assert not here.hooks.cursors(session.id)
    courier(here, receiver).run(Errand(hook.id, session.id))
    courier(here, receiver).run(Errand(hook.id, session.id, 1))
    assert not here.hooks.cursors(session.id) and receiver.tried == [1]


# ---- what may get lost, and who finds it ----


def test_what_was_stored_and_never_sent_is_found_when_its_session_is_looked_at(here: World) -> None:
    put(here)
    receiver, session = Receiver(), here.create()
    here.errands.clear()
    here.clock.tick(61)
    here.supervisor.sweep()
    run(here, receiver)
    assert receiver.tried == stored(here, session)


def test_a_session_is_not_let_go_before_its_webhooks_know_its_end(here: World) -> None:
    put(here)
    receiver, session = Receiver(), here.create()
    here.service.end("acme", session.id)
    for _ in range(3):
        here.errands.clear()
        here.clock.tick(61)
        here.supervisor.sweep()
        assert here.now(session).due_at is not None
    run(here, receiver)
    assert receiver.bodies[-1]["type"] == "session.session_ended"
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.now(session).due_at is None and not here.errands


def test_two_who_run_the_same_errand_do_not_deliver_twice(here: World) -> None:
    put(here)
    session = here.create()
    receiver, second = Receiver(), Receiver()
    other = courier(here, second)
    receiver.answer = lambda seq: other.run(Errand(session.hooks[0].hook_id, session.id)) or TAKEN
    run(here, receiver)
    assert receiver.tried == stored(here, session) and not second.tried


def test_what_is_stored_while_another_is_at_it_is_told_too(here: World) -> None:
    put(here)
    session = here.create()
    receiver, last = Receiver(), session.head.last_seq

    def answer(seq: int) -> Outcome:
        if seq == last:
            here.say(session, SandboxReady())
            here.errands.clear()  # the errand of it comes while the cursor is held, and is dropped
        return TAKEN

    receiver.answer = answer
    run(here, receiver)
    assert receiver.tried == stored(here, session) and receiver.tried[-1] == last + 1


def test_who_was_taken_for_dead_says_no_more(here: World) -> None:
    """One who stalls for longer than its lease; what it delivered comes twice, and nothing gets lost."""
    put(here)
    session = here.create()
    receiver, second = Receiver(), Receiver()

    def stall(seq: int) -> Outcome:
        here.clock.tick(LEASE.total_seconds() + 1)
        courier(here, second).run(Errand(session.hooks[0].hook_id, session.id))
        return TAKEN

    receiver.answer = stall
    run(here, receiver)
    assert receiver.tried == [1] and second.tried == stored(here, session)


def test_a_run_ends_in_time_and_another_goes_on(here: World) -> None:
    put(here)
    session = here.create()
    here.turn(session)
    receiver = Receiver(lambda seq: here.clock.tick(RUN.total_seconds() / 2) or TAKEN)
    errand = here.errands[0][0]
    here.errands.clear()
    courier(here, receiver).run(errand)
    assert receiver.tried == [1, 2] and here.errands == [(errand, 0)]
    run(here, receiver)
    assert receiver.tried == stored(here, session)


def test_a_send_that_fails_costs_the_caller_nothing(here: World) -> None:
    put(here)

    def fail(*sent: Any) -> None:
        raise OSError("no queue")

    here.dispatch.send = fail
    session = here.create()
    here.dispatch.send = lambda *sent: here.errands.append(sent)
    here.clock.tick(61)
    here.supervisor.sweep()
    receiver = Receiver()
    run(here, receiver)
    assert receiver.tried == stored(here, session)
