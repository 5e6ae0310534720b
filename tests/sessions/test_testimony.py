"""What a sandbox says is stored exactly once, in order, and moves nothing that is not its own."""

import pytest
from pydantic import ValidationError

from opensessions.errors import EventGap, Unauthorized
from opensessions.events import Assistant, Error, EventBatch, PreviewReady, TurnStarted
from opensessions.models import Status
from tests.fakes import World


def words(text: str) -> Assistant:
    return Assistant(message={"content": [{"type": "text", "text": text}]})


def test_a_batch_that_arrives_again_changes_nothing(here: World) -> None:
    session = here.create()
    first = here.say(session, words("a"), words("b"))
    again = here.say(session, words("a"), words("b"), first=1)
    assert (first.ack, first.last_seq) == (again.ack, again.last_seq)
    assert here.types(session).count("assistant") == 2


def test_an_overlapping_batch_adds_only_what_is_new(here: World) -> None:
    session = here.create()
    here.say(session, words("a"), words("b"))
    here.say(session, words("b"), words("c"), first=2)
    said = [e.payload["message"]["content"][0]["text"] for e in here.store.events(session.id, 2, 99)]
    assert said == ["a", "b", "c"]


def test_a_gap_is_told_and_nothing_is_stored(here: World) -> None:
    session = here.create()
    with pytest.raises(EventGap) as gap:
        here.say(session, words("c"), first=3)
    assert gap.value.expected == 1
    assert here.now(session).head == session.head


def test_seqs_are_the_sessions_own_and_have_no_gaps(here: World) -> None:
    session = here.turn(here.create())
    here.service.send("acme", session.id, "u1", "more")
    here.turn(session)
    events = here.store.events(session.id, 0, 99)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len({event.id for event in events}) == len(events)


def test_i31_what_a_sandbox_may_not_say_is_refused(here: World) -> None:
    own = ("session_started", "user_message", "version_saved", "hibernated", "woken", "sandbox_lost")
    for forged in (*own, "session_ended", "budget_exceeded"):
        with pytest.raises(ValidationError):
            EventBatch.model_validate({"first_seq": 1, "events": [{"type": forged, "reason": "x"}]})
    session = here.create()
    spoofed = TurnStarted.model_validate({"seq": 99, "id": "evt_x", "createdAt": "never", "level": "error"})
    here.say(session, spoofed)
    frame = here.store.events(session.id, 2, 1)[0].frame()
    assert (frame["seq"], frame["level"]) == (3, "info")
    assert frame["id"].startswith("evt_") and frame["createdAt"].endswith("Z")


def test_a_dead_sandbox_is_heard_no_more(here: World) -> None:
    session = here.create()
    token = here.token(session)
    here.service.end("acme", session.id)
    for bad in (token, token[:-1] + "0", "nonsense", f"osw_{'0' * 32}_{'0' * 64}"):
        with pytest.raises(Unauthorized):
            here.testimony.record_events(bad, EventBatch(first_seq=1, events=[words("boo")]))
    assert here.types(session)[-1] == "session_ended"


def test_i44_tokens_are_redacted_from_what_the_agent_saw(here: World) -> None:
    session = here.create()
    here.say(session, words(f"env: KEY={here.token(session)} end"))
    text = here.store.events(session.id, 2, 1)[0].payload["message"]["content"][0]["text"]
    assert text == "env: KEY=[token] end"


def test_a_large_event_is_cut_and_the_whole_is_kept(here: World) -> None:
    session = here.create()
    here.say(session, words("x" * 400_000))
    payload = here.store.events(session.id, 2, 1)[0].payload
    assert payload["truncated"] and "characters cut" in payload["message"]["content"][0]["text"]
    assert b"x" * 400_000 in (here.blobs.get(payload["blob"]) or b"")


def test_a_batch_over_one_item_is_stored_in_parts(here: World) -> None:
    session = here.create()
    here.say(session, *[words(str(n) + "y" * 100_000) for n in range(10)])
    assert here.now(session).head.agent_seq == 10
    assert here.types(session).count("assistant") == 10


def test_preview_ready_names_the_public_address(here: World) -> None:
    session = here.create()
    here.say(session, PreviewReady(port=3000))
    event = here.store.events(session.id, 2, 1)[0]
    assert event.payload["url"] == f"https://{session.sandbox_id}-p3000.preview.test"


def test_signs_of_life_are_written_sparingly(here: World) -> None:
    session = here.create()
    here.say(session, words("a"))
    rev = here.now(session).head.rev
    here.say(session)
    assert here.now(session).head.rev == rev
    here.clock.tick(20)
    here.say(session)
    assert here.now(session).head.heard_at == here.clock.now


def test_a_notice_of_the_gateway_is_a_warning(here: World) -> None:
    session = here.create()
    here.testimony.notice(session.id, "evil.example is not allowed", "egress_refused")
    event = here.store.events(session.id, 2, 1)[0]
    assert (event.type, event.level, event.payload["code"]) == ("error", "warning", "egress_refused")
    assert here.now(session).head.status is Status.RUNNING


def test_errors_are_errors(here: World) -> None:
    session = here.create()
    here.say(session, Error(message="No."))
    assert here.store.events(session.id, 2, 1)[0].level == "error"
