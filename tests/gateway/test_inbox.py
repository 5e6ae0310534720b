"""What a sandbox is to do reaches it: in order, at once, and nobody else."""

import asyncio

from opensessions.events import Assign, InboxItem, inbox_item
from opensessions.handshake import derived_token
from opensessions.models import Session
from tests.fakes import World
from tests.gateway.sandbox_parts import Side, assert_not_public, sandbox_side
from tests.gateway.stream_parts import public, until


def send(side: Side, session: Session, text: str) -> None:
    side.here.service.send("acme", session.id, "u1", text)
    side.hub.wake(session.id)


async def test_the_assignment_comes_first_with_the_doors_key_and_then_what_is_sent(here: World) -> None:
    session = here.create("Build it")
    async with sandbox_side(here) as side, side.inbox(session) as frames:
        ping, first = await frames.take(2)
        assert (ping.event, ping.data, first.event, first.id) == ("ping", "", "message", "1")
        assign = inbox_item.validate_json(first.data)
        assert isinstance(assign, Assign)
        assert (assign.prompt, assign.door_key) == ("Build it", f"key of {session.sandbox_id}")
        for number, text in (2, "first"), (3, "second"):
            send(side, session, text)
            frame = await frames.next()
            assert (frame.id, frame.json["text"]) == (str(number), text)
        here.service.interrupt("acme", session.id)
        side.hub.wake(session.id)
        assert (await frames.next()).json == {"type": "interrupt"}


async def test_a_worker_that_comes_back_goes_on_where_it_was(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side:
        send(side, session, "one")
        send(side, session, "two")
        async with side.inbox(session, after=2) as frames:
            assert [frame.id for frame in await frames.take(2)] == ["", "3"]


async def test_a_newer_launch_ends_the_older_inbox_and_begins_with_its_own_assignment(here: World) -> None:
    session = here.create("first")
    async with sandbox_side(here) as side, side.inbox(session) as older:
        await older.take(2)
        old_token = here.token(session)
        here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
        here.supervisor.relaunch(session.sandbox_id, 2)
        send(side, session, "second")
        assert [frame async for frame in older] == []
        async with side.inbox(session) as newer:
            assert [frame.id for frame in await newer.take(2)] == ["", "2"]
        answer = await side.client.get("/sandbox/v1/inbox", headers={"Authorization": f"Bearer {old_token}"})
        assert answer.status_code == 401


async def test_a_launch_that_begins_between_two_reads_is_not_shown_to_the_older_one(here: World) -> None:
    session = here.create("first")

    class Racing:
        identify, speaker = here.testimony.identify, here.testimony.speaker
        prepare, holds = here.testimony.prepare, here.testimony.holds

        def inbox(self, session: Session, after: int) -> list[tuple[int, InboxItem]]:
            here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
            here.service.send("acme", session.id, "u1", "second")
            return here.testimony.inbox(session, after)

    async with sandbox_side(here, assignments=Racing()) as side, side.inbox(session) as older:
        assert [frame.id async for frame in older] == ["", "1"]


async def test_the_inbox_of_an_ended_session_closes_and_stays_closed(here: World) -> None:
    session = here.create()
    headers = {"Authorization": f"Bearer {here.token(session)}"}
    async with sandbox_side(here) as side, side.inbox(session) as frames:
        await frames.take(2)
        here.service.end("acme", session.id)
        side.hub.wake(session.id)
        assert [frame async for frame in frames] == []
        answer = await side.client.get("/sandbox/v1/inbox", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "unauthorized"


async def test_a_sandbox_has_one_inbox_and_the_newest_is_it(here: World) -> None:
    session, other = here.create(), here.create()
    async with (
        sandbox_side(here) as side,
        side.inbox(other) as unrelated,
        side.inbox(session) as older,
        side.inbox(session) as newer,
    ):
        assert [frame.id for frame in await newer.take(2)] == ["", "1"]
        async for _ in older:
            pass
        send(side, session, "only here")
        send(side, other, "there")
        assert (await newer.next()).json["text"] == "only here"
        assert [frame.id for frame in await unrelated.take(3)] == ["", "1", "2"]
        assert len(side.open_streams) == 2


async def test_silence_is_filled_with_pings_and_the_poll_finds_what_nobody_announced(here: World) -> None:
    session = here.create()
    side = sandbox_side(here, heartbeat_seconds=0.02, poll_seconds=0.01)
    async with side as opened, opened.inbox(session) as frames:
        first = await frames.take(4)
        assert [frame.event for frame in first] == ["ping", "message", "ping", "ping"]
        here.service.send("acme", session.id, "u1", "quietly")
        while (frame := await frames.next()).event == "ping":
            pass
        assert frame.json["text"] == "quietly"


async def test_a_token_of_another_kind_or_none_opens_nothing(here: World) -> None:
    token = here.token(here.create())
    other = token[:-1] + ("1" if token.endswith("0") else "0")
    shown = ["", "Bearer", "Bearer x", f"Basic {token}", f"Bearer {derived_token(token, 'model')}"]
    async with sandbox_side(here) as side:
        for value in [*shown, f"Bearer {other}"]:
            headers = {"Authorization": value}
            async with side.client.stream("GET", "/sandbox/v1/inbox", headers=headers) as answer:
                assert answer.status_code == 401, value
        assert len(side.open_streams) == 0


async def test_a_place_that_is_none_is_refused(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side:
        for after in ("", "-1", "x", "9" * 13):
            query = {"after": after}
            answer = await side.client.get("/sandbox/v1/inbox", headers=side.bearer(session), params=query)
            assert (answer.status_code, answer.json()["error"]["field"]) == (400, "after"), after


async def test_an_inbox_that_is_opened_over_and_over_has_to_wait(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side:
        statuses = set()
        for _ in range(25):
            async with side.client.stream("GET", "/sandbox/v1/inbox", headers=side.bearer(session)) as answer:
                statuses.add((answer.status_code, "retry-after" in answer.headers))
        assert statuses == {(200, False), (429, True)}


async def test_a_shutdown_ends_inboxes_too(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side, side.inbox(session) as frames:
        await frames.take(2)
        await side.open_streams.drain()
        assert [frame async for frame in frames] == []
        assert b"retry: " in frames.raw
        answer = await side.client.get("/sandbox/v1/inbox", headers=side.bearer(session))
        assert answer.status_code == 503


async def test_a_sandbox_can_ask_for_nothing_else(here: World) -> None:
    cases = [
        ("GET", "/", 404),
        ("GET", "/v1/sessions", 404),
        ("GET", "/sandbox/v1/inbox/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/callback/v1/events", 404),
        ("POST", "/v1/messages/batches", 404),
        ("GET", "/v1/files", 404),
        ("POST", "/sandbox/v1/inbox", 405),
        ("GET", "/sandbox/v1/events", 405),
        ("POST", "/v1/messages", 200),
        ("POST", "/v1/messages/count_tokens", 200),
    ]
    session = here.create()
    async with sandbox_side(here) as side:
        for method, path, status in cases:
            answer = await side.client.request(method, path, headers=side.bearer(session))
            assert answer.status_code == status, path
            assert (answer.text == "the model") if status == 200 else answer.json()["error"]["request_id"]


async def test_o07_the_public_streams_know_no_sandbox_route(here: World) -> None:
    token = here.token(here.create())
    async with public() as side:
        side.client.base_url = side.url  # type: ignore[assignment]
        await assert_not_public(side.client, token)


async def test_an_inbox_leaves_nothing_behind(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side:
        async with side.inbox(session) as frames:
            await frames.take(2)
        await until(lambda: len(side.open_streams) == 0 and session.id not in side.hub.bells)


async def test_many_inboxes_each_get_their_own(here: World) -> None:
    sessions = [here.create(f"work {n}") for n in range(3)]

    async def prompt(session: Session) -> str:
        async with side.inbox(session) as frames:
            *_, frame = await frames.take(2)
            return str(frame.json["prompt"])

    async with sandbox_side(here) as side:
        assert await asyncio.gather(*map(prompt, sessions)) == ["work 0", "work 1", "work 2"]
