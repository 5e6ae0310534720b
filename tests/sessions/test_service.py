"""What callers may do, and what stays as it was when they may not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from opensessions.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthorized,
)
from opensessions.events import Assign, Error, Interrupt, SandboxReady, TurnComplete
from opensessions.models import AgentConfig, NewSession, SandboxStatus, Session, Status
from opensessions.sessions.service import Quota
from tests.fakes import World, open_account, world

REQUEST = NewSession(prompt="Build a todo app with Next.js and Tailwind", user_id="u1")


def test_create_answers_with_a_running_session_whose_sandbox_is_on_the_way(here: World) -> None:
    session = here.service.create("acme", REQUEST)
    messages, events = here.service.recent(session)
    assert (session.head.status, session.head.sandbox_status) == (Status.RUNNING, SandboxStatus.STARTING)
    assert (session.title, session.framework) == ("Build a todo app", "nextjs")
    assert [event.type for event in events] == ["session_started", "user_message"]
    assert [(message.role, message.content) for message in messages] == [("user", REQUEST.prompt)]
    assert here.runtime.alive(session.sandbox_id)


def test_the_first_inbox_item_is_the_whole_assignment(here: World) -> None:
    config = AgentConfig(system_prompt="Be brief.", skills={"a/b.md": "text"}, allowed_tools=("Read",))
    session = here.create(config=config)
    [(seq, item)] = here.testimony.inbox(session, 0)
    assert isinstance(item, Assign)
    assert (seq, item.prompt, item.system_prompt) == (1, "Build a todo app", "Be brief.")
    assert (item.skills, item.tools, item.history) == ({"a/b.md": "text"}, ["Read"], [])
    assert item.preview_url == f"https://{session.sandbox_id}-p{{port}}.preview.test"


def test_only_hashes_of_tokens_are_stored(here: World) -> None:
    session = here.create()
    token = here.token(session)
    assert here.testimony.identify(token, "worker") is not None
    assert here.testimony.identify(token, "model") is None
    assert token not in here.now(session).model_dump_json()


def test_a_turn_makes_the_session_ready_and_records_one_message(here: World) -> None:
    session = here.turn(here.create(), "Here is your app.", framework="vite")
    messages, _ = here.service.recent(session)
    assert session.head.status is Status.READY
    assert [message.content for message in messages] == ["Build a todo app", "Here is your app."]
    assert session.framework == "vite"


def test_a_follow_up_during_a_turn_is_queued_and_keeps_the_session_running(here: World) -> None:
    session = here.create()
    first = here.now(session).head.asked_seq
    here.say(session, SandboxReady())
    here.service.send("acme", session.id, "u1", "Make it blue")
    here.say(session, TurnComplete(reason="completed", inbox_seq=first))
    assert here.now(session).head.status is Status.RUNNING
    assert here.turn(session).head.status is Status.READY
    queued = [
        event.payload["queued"]
        for event in here.store.events(session.id, 0, 99)
        if event.type == "user_message"
    ]
    assert queued == [False, True]


def failed(here: World, session: Session) -> None:
    here.runtime.refuse = "There is no room."
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
    here.service.send("acme", session.id, "u1", "Go on")
    here.runtime.refuse = None
    assert here.now(session).head.status is Status.ERROR


def lost(here: World, session: Session) -> None:
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
    assert here.now(session).head.sandbox_status is SandboxStatus.HIBERNATED


def asleep(here: World, session: Session) -> None:
    here.sleep(session)


@pytest.mark.parametrize(("end", "launch", "said"), [(failed, 3, ["Go on"]), (lost, 2, []), (asleep, 2, [])])
def test_a_message_to_a_session_without_a_sandbox_starts_it_again_with_its_history(
    here: World, end: Callable[[World, Session], None], launch: int, said: list[str]
) -> None:
    session = here.turn(here.create(), "First answer")
    old = here.token(session)
    end(here, session)
    again = here.service.send("acme", session.id, "u1", "And now?")
    assert (again.head.status, again.launch, again.sandbox_id) == (Status.RUNNING, launch, session.sandbox_id)
    assert here.testimony.identify(old, "worker") is None
    [(_, item)] = here.testimony.inbox(again, 0)
    assert isinstance(item, Assign)
    assert item.prompt == "And now?"
    assert [turn.content for turn in item.history] == ["Build a todo app", "First answer", *said]
    assert here.turn(again).head.status is Status.READY


def test_interrupt_reaches_the_inbox_only_while_a_turn_runs(here: World) -> None:
    session = here.create()
    here.service.interrupt("acme", session.id)
    assert [type(item) for _, item in here.testimony.inbox(session, 1)] == [Interrupt]
    here.turn(session)
    here.service.interrupt("acme", session.id)
    assert len(here.testimony.inbox(session, 1)) == 1


def test_end_is_legal_in_every_state_and_gives_the_same_answer_again(here: World) -> None:
    fall = lambda s: here.supervisor.sandbox_stopped(s.sandbox_id, 1, "x")  # noqa: E731
    for reach in (
        lambda s: s,
        here.turn,
        fall,
        lambda s: fall(here.turn(s)),
        lambda s: here.sleep(here.turn(s)),
    ):
        session = here.create()
        reach(session)
        ended = here.service.end("acme", session.id)
        assert ended.head.status is Status.ENDED
        assert not here.runtime.alive(session.sandbox_id)
        assert here.service.end("acme", session.id).head == ended.head
        assert here.types(session)[-1] == "session_ended"
        here.catch_up()
        assert here.now(session).head == ended.head


def test_an_ended_session_takes_no_message(here: World) -> None:
    session = here.create()
    here.service.end("acme", session.id)
    for call in (
        lambda: here.service.send("acme", session.id, "u1", "hello?"),
        lambda: here.service.interrupt("acme", session.id),
        lambda: here.service.hibernate("acme", session.id),
        lambda: here.service.restore("acme", session.id, 1),
    ):
        with pytest.raises(Conflict, match="ended"):
            call()


@pytest.mark.parametrize(("account", "user_id"), [("other", None), ("acme", "u2"), ("other", "u1")])
def test_another_tenants_session_is_not_found(here: World, account: str, user_id: str | None) -> None:
    session = here.create()
    calls = (here.service.read, here.service.end, here.service.interrupt, here.service.hibernate)
    for call in (*calls, here.service.purge):
        with pytest.raises(NotFound):
            call(account, session.id, user_id)
    with pytest.raises(NotFound, match="Session"):
        here.service.restore(account, session.id, 1, user_id)
    assert here.now(session).head == session.head


def test_idempotency_creates_once_and_tells_another_request_apart(here: World) -> None:
    first = here.service.create("acme", REQUEST, "key-1")
    assert here.service.create("acme", REQUEST, "key-1").id == first.id
    assert here.service.create("other", REQUEST, "key-1").id != first.id
    for changed in ({"prompt": "Else"}, {"user_id": "u2"}):
        with pytest.raises(IdempotencyMismatch):
            here.service.create("acme", REQUEST.model_copy(update=changed), "key-1")
    assert len(here.runtime.launches) == 2


def test_idempotency_of_messages(here: World) -> None:
    session = here.turn(here.create())
    here.service.send("acme", session.id, "u1", "Blue", "m-1")
    here.service.send("acme", session.id, "u1", "Blue", "m-1")
    assert len([1 for kind in here.types(session) if kind == "user_message"]) == 2
    with pytest.raises(IdempotencyMismatch):
        here.service.send("acme", session.id, "u1", "Red", "m-1")


def test_racing_creates_under_one_key_make_one_session(here: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: here.service.create("acme", REQUEST, "key-1").id, range(8)))
    assert len(set(made)) == 1
    assert len(here.runtime.launches) == 1


def test_o35_two_hundred_creates_at_a_quota_of_five_make_five(tmp_path) -> None:  # type: ignore[no-untyped-def]
    here = world(tmp_path, quota=Quota(live=5, creates=1000))

    def attempt(_: int) -> bool:
        try:
            return bool(here.create())
        except RateLimited as refused:
            assert refused.retry_after > 0
            return False

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(200))) == 5
    assert len(here.service.page("acme", None, None, 100, None).sessions) == 5
    session = here.service.page("acme", None, None, 1, None).sessions[0]
    here.service.end("acme", session.id)
    assert here.create()


def test_the_quota_of_creates_a_minute(tmp_path) -> None:  # type: ignore[no-untyped-def]
    here = world(tmp_path, quota=Quota(live=99, creates=2))
    here.create(), here.create()
    with pytest.raises(RateLimited) as refused:
        here.create()
    here.clock.tick(refused.value.retry_after)
    assert here.create()


def test_a_refused_launch_is_an_error_event_and_gives_the_quota_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    here = world(tmp_path, quota=Quota(live=1, creates=99))
    here.runtime.refuse = "No bubblewrap."
    session = here.create()
    assert session.head.status is Status.ERROR
    assert here.types(session)[-1] == "error"
    here.runtime.refuse = None
    assert here.create().head.status is Status.RUNNING


def test_pages_filter_by_user_and_status(here: World) -> None:
    made = [here.create(), here.create()]
    here.turn(made[0])
    other = here.service.create("acme", NewSession(prompt="x", user_id="u2"))
    page = here.service.page
    assert {s.id for s in page("acme", None, None, 10, None).sessions} == {*(s.id for s in made), other.id}
    assert [s.id for s in page("acme", "u2", None, 10, None).sessions] == [other.id]
    assert [s.id for s in page("acme", None, Status.READY, 10, None).sessions] == [made[0].id]
    assert page("other", None, None, 10, None).sessions == []


def test_keys_open_accounts(here: World) -> None:
    key = open_account(here.keyring)
    assert here.service.authenticate(key).account == "acme"
    for wrong in ("", "osb_", key[:-1], key + "x", "x" * 10_000):
        with pytest.raises(Unauthorized):
            here.service.authenticate(wrong)


def test_a_failed_turn_leaves_the_sandbox_alive_for_the_next_message(here: World) -> None:
    session = here.create()
    here.say(session, Error(message="The model is away."), TurnComplete(reason="error", inbox_seq=1))
    assert here.now(session).head.status is Status.ERROR
    again = here.service.send("acme", session.id, "u1", "Try again")
    assert (again.head.status, again.launch) == (Status.RUNNING, 1)


def test_hosts_are_not_promised_where_the_network_is_open(tmp_path) -> None:  # type: ignore[no-untyped-def]
    here = world(tmp_path, narrows_egress=False)
    for hosts in ((), ("example.com",)):
        with pytest.raises(InvalidRequest, match="network is open") as refused:
            here.create(config=AgentConfig(allowed_hosts=hosts))
        assert refused.value.field == "agent_config.allowed_hosts"
    assert here.create().live
    assert len(here.runtime.launches) == 1
    here.store.close()  # type: ignore[attr-defined]
