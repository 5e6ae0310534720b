"""Webhooks, how far each has been told of a session, and what could not be told."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from opensessions.errors import Stale
from opensessions.models import Subscription
from opensessions.webhooks.hooks import LETTER_DAYS, Cursor, Hook, Hooks, Letter
from tests.contract.engines import Engine
from tests.contract.samples import START, create

S, OTHER, H = f"session_{1:032x}", f"session_{2:032x}", "whk_1"
MINUTE = timedelta(minutes=1)
FREE = {"holder": None, "held_until": None}


@pytest.fixture
def hooks(engine: Engine) -> Hooks:
    return engine.hooks()


def hook(number: int = 1, **fields: Any) -> Hook:
    usual = {"id": f"whk_{number}", "account": "acme", "url": "https://example.com/", "secret": "whsec_AAAA"}
    return Hook(**{**usual, "created_at": START + timedelta(seconds=number), **fields})


def letter(seq: int, session_id: str = S, hook_id: str = H, **fields: Any) -> Letter:
    usual = {"event_type": "result", "attempts": 8, "error": "It answered 500.", "died_at": START}
    return Letter(hook_id=hook_id, session_id=session_id, seq=seq, **{**usual, **fields})


def claim(hooks: Hooks, holder: str = "a", now: Any = START, session_id: str = S) -> Cursor | None:
    return hooks.claim(session_id, H, holder, now, now + MINUTE)


def claimed(hooks: Hooks, holder: str = "a", now: Any = START, session_id: str = S) -> Cursor:
    cursor = claim(hooks, holder, now, session_id)
    assert cursor
    return cursor


def test_a_webhook_is_kept_as_it_is(hooks: Hooks) -> None:
    assert hooks.get(H) is None
    hooks.put(hook(events=("turn_complete", "result")))
    assert hooks.get(H) == hook(events=("turn_complete", "result"))


def test_an_account_has_its_own_oldest_first_without_those_of_one_session(hooks: Hooks) -> None:
    for each in (hook(3), hook(1, events=("result",)), hook(2, account="globex"), hook(4, session_id=S)):
        hooks.put(each)
    assert [each.id for each in hooks.of_account("acme")] == ["whk_1", "whk_3"]
    assert list(hooks.subscriptions("acme")) == [
        Subscription(hook_id="whk_1", events=("result",)),
        Subscription(hook_id="whk_3", events=("*",)),
    ]
    assert [each.id for each in hooks.of_account("globex")] == ["whk_2"]
    assert hooks.get("whk_4") == hook(4, session_id=S)


def test_it_is_switched_off_for_the_first_reason(hooks: Hooks) -> None:
    hooks.put(hook())
    hooks.switch_off(H, "410")
    hooks.switch_off(H, "another")
    assert hooks.get(H) == hook(off="410")
    assert hooks.of_account("acme") == [hook(off="410")]
    hooks.switch_off("whk_9", "410")
    assert hooks.get("whk_9") is None


def test_what_is_deleted_takes_its_dead_letters_along(hooks: Hooks) -> None:
    hooks.put(hook())
    hooks.bury(letter(1))
    for _ in range(2):
        hooks.drop(H)
        assert hooks.get(H) is None and not hooks.of_account("acme") and not hooks.subscriptions("acme")
        assert not hooks.letters(H, ("", 0), 10)
    hooks.switch_off(H, "410")
    assert hooks.get(H) is None


def test_a_claim_makes_the_cursor_and_keeps_others_out(hooks: Hooks) -> None:
    held = {"holder": "a", "held_until": START + MINUTE}
    assert claim(hooks) == Cursor(session_id=S, hook_id=H, **held)
    assert claim(hooks, "b") is None
    assert claim(hooks, "b", session_id=OTHER) is not None
    assert claimed(hooks, "b", START + MINUTE).holder == "b", "whose time is over"


def test_of_many_who_claim_at_once_one_gets_it(engine: Engine) -> None:
    hooks = engine.hooks()
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda n: claim(hooks, str(n)), range(8)))
    assert sum(cursor is not None for cursor in got) == 1


def test_what_is_saved_is_there_for_the_next(hooks: Hooks) -> None:
    told = claimed(hooks).model_copy(update={"seq": 7, "failing_since": START})
    hooks.save(told, "a")
    assert list(hooks.cursors(S)) == [told]
    hooks.save(told.model_copy(update=FREE), "a")
    assert claimed(hooks, "b").model_copy(update=FREE) == told.model_copy(update=FREE)


def test_who_no_longer_holds_it_saves_nothing(hooks: Hooks) -> None:
    cursor = claimed(hooks)
    claimed(hooks, "b", START + MINUTE)
    with pytest.raises(Stale):
        hooks.save(cursor.model_copy(update={"seq": 9}), "a")
    hooks.forget(S, H)
    with pytest.raises(Stale):
        hooks.save(cursor, "b")
    assert not hooks.cursors(S)


def test_what_is_put_off_is_due_then_and_not_before(hooks: Hooks) -> None:
    for minutes, session_id in ((2, S), (1, OTHER)):
        cursor = claimed(hooks, session_id=session_id)
        late = {"attempts": 1, "due_at": START + minutes * MINUTE, **FREE}
        hooks.save(cursor.model_copy(update=late), "a")
    assert claim(hooks, now=START + MINUTE) is None
    assert not hooks.due(START, 10)
    assert list(hooks.due(START + MINUTE, 10)) == [(OTHER, H)]
    assert list(hooks.due(START + 2 * MINUTE, 10)) == [(OTHER, H), (S, H)]
    assert list(hooks.due(START + 2 * MINUTE, 1)) == [(OTHER, H)]
    cursor = claimed(hooks, now=START + 2 * MINUTE)
    assert cursor.attempts == 1
    hooks.save(cursor.model_copy(update={"attempts": 0, "due_at": None, **FREE}), "a")
    assert list(hooks.due(START + 9 * MINUTE, 10)) == [(OTHER, H)]


def test_dead_letters_by_session_and_number(hooks: Hooks) -> None:
    for each in (letter(10), letter(9), letter(1, OTHER), letter(2, hook_id="whk_2")):
        hooks.bury(each)
    everything = [letter(9), letter(10), letter(1, OTHER)]
    assert list(hooks.letters(H, ("", 0), 10)) == everything
    assert list(hooks.letters(H, ("", 0), 2)) == everything[:2]
    assert list(hooks.letters(H, (S, 9), 10)) == everything[1:]
    assert list(hooks.letters(H, (S, 10), 10)) == everything[2:]
    assert list(hooks.letters(H, ("", 0), 10, OTHER)) == everything[2:]
    assert list(hooks.letters(H, (S, 9), 10, S)) == [letter(10)]
    assert not hooks.letters(H, (S, 10), 10, S)


def test_a_dead_letter_is_kept_once_and_for_a_while(engine: Engine) -> None:
    hooks = engine.hooks()
    hooks.bury(letter(1))
    hooks.bury(letter(1, attempts=9, error="It answered 502."))
    assert list(hooks.letters(H, ("", 0), 10)) == [letter(1, attempts=9, error="It answered 502.")]
    hooks.bury(letter(2))
    for _ in range(2):
        hooks.unbury(H, S, 2)
    assert [each.seq for each in hooks.letters(H, ("", 0), 10)] == [1]
    engine.clock.advance(days=LETTER_DAYS, seconds=1)
    assert not hooks.letters(H, ("", 0), 10)


def test_the_purge_of_a_session_takes_what_is_its_own(hooks: Hooks) -> None:
    for each in (hook(1), hook(2, session_id=S)):
        hooks.put(each)
    for session_id in (S, OTHER):
        claimed(hooks, session_id=session_id)
        hooks.bury(letter(1, session_id))
        hooks.bury(letter(1, session_id, "whk_2"))
    subscriptions = [hook(1).subscription, hook(2).subscription]
    for _ in range(2):
        hooks.purge(S, subscriptions)
    assert hooks.get(H) and hooks.get("whk_2") is None
    assert not hooks.cursors(S) and hooks.cursors(OTHER)
    assert [each.session_id for each in hooks.letters(H, ("", 0), 10)] == [OTHER]


def test_a_cursor_goes_with_its_session(engine: Engine) -> None:
    store, hooks = engine.open(), engine.hooks()
    session = create(store)
    claimed(hooks, session_id=session.id)
    store.purge(session.id)
    assert not hooks.cursors(session.id)
