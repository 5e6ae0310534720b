"""A sandbox of the pool at the gateway: what it is told, when its session comes, and what it may not do."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from opensessions.events import Assign, EventBatch, Prepare, inbox_item
from opensessions.models import AgentConfig
from opensessions.pool.pooling import AGE
from opensessions.pool.spares import Spare
from tests.fakes import World, world
from tests.gateway.sandbox_parts import Side, sandbox_side
from tests.gateway.stream_parts import Frames


@pytest.fixture
def warm(tmp_path: Path) -> Any:
    made = world(tmp_path, warm_pool=1)
    made.supervisor.pool.fill()
    yield made
    made.store.close()  # type: ignore[attr-defined]


def secret(warm: World) -> tuple[Spare, str]:
    [spare] = warm.spares.all()
    return spare, warm.runtime.live[spare.sandbox_id].token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def prepared(frames: Frames) -> Prepare:
    ping, told = await frames.take(2)
    assert (ping.event, told.id) == ("ping", "0")
    item = inbox_item.validate_json(told.data)
    assert isinstance(item, Prepare)
    return item


async def says(side: Side, token: str, first_seq: int, *types: str, **more: Any) -> dict[str, Any]:
    batch = {"first_seq": first_seq, "events": [{"type": name} for name in types], **more}
    answer = await side.client.post("/sandbox/v1/events", headers=bearer(token), json=batch)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("rung", [True, False], ids=["rung", "polled"])
async def test_a_spare_is_told_to_prepare_and_then_its_assignment(warm: World, rung: bool) -> None:
    spare, token = secret(warm)
    async with sandbox_side(warm, spare_poll_seconds=30.0 if rung else 0.05) as side:
        headers = bearer(token)
        async with side.client.stream("GET", "/sandbox/v1/inbox", headers=headers) as answer:
            frames = Frames(answer)
            told = await prepared(frames)
            assert told.preview_url == f"https://{spare.sandbox_id}-p{{port}}.preview.test"
            assert told.tools == list(AgentConfig().allowed_tools)
            assert await says(side, token, 1, "sandbox_ready") == {"acked": 1, "expected": 2}
            assert await says(side, token, 2, state="idle") == {"acked": 1, "expected": 2}
            session = warm.create("Build it")
            assert session.sandbox_id == spare.sandbox_id
            if rung:
                side.hub.wake(session.sandbox_id)
            frame = await frames.next()
            item = inbox_item.validate_json(frame.data)
            assert isinstance(item, Assign) and frame.id == "1"
            assert (item.prompt, item.door_key) == ("Build it", f"key of {session.sandbox_id}")
            warm.service.send("acme", session.id, "u1", "and blue")
            side.hub.wake(session.id)
            assert (await frames.next()).json["text"] == "and blue"
            assert await says(side, token, 2, "ready") == {"acked": 2, "expected": 3}
        assert warm.types(session)[-1] == "ready"
        async with side.client.stream(
            "GET", "/sandbox/v1/inbox", headers=headers, params={"after": 1}
        ) as more:
            assert [frame.id for frame in await Frames(more).take(2)] == ["", "2"], "it is a session's now"


async def test_a_spare_that_comes_back_is_told_again(warm: World) -> None:
    _, token = secret(warm)
    async with sandbox_side(warm) as side:
        for _ in range(2):
            async with side.client.stream("GET", "/sandbox/v1/inbox", headers=bearer(token)) as answer:
                await prepared(Frames(answer))


async def test_the_inbox_of_a_spare_that_is_discarded_closes_and_stays_closed(warm: World) -> None:
    _, token = secret(warm)
    async with sandbox_side(warm, spare_poll_seconds=0.05) as side:
        async with side.client.stream("GET", "/sandbox/v1/inbox", headers=bearer(token)) as answer:
            frames = Frames(answer)
            await prepared(frames)
            warm.clock.now += AGE + timedelta(seconds=1)
            warm.supervisor.sweep()
            assert [frame async for frame in frames] == []
        for method, path in (("GET", "/sandbox/v1/inbox"), ("POST", "/sandbox/v1/events")):
            sent = await side.client.request(method, path, headers=bearer(token), json={"first_seq": 1})
            assert sent.status_code == 401


async def test_a_spare_keeps_nothing(warm: World) -> None:
    spare, token = secret(warm)
    async with sandbox_side(warm) as side:
        part = f"/sandbox/v1/archives/{'ab' * 16}/parts/0"
        answer = await side.client.put(part, headers=bearer(token), content=b"x")
        assert answer.status_code == 401
        answer = await side.client.post(
            "/sandbox/v1/events",
            headers=bearer(token),
            json={"first_seq": 7, "events": [{"type": "ready"}]},
        )
        assert answer.status_code == 409
        assert answer.json()["expected"] == 1
    assert warm.testimony.record_events(token, EventBatch(first_seq=1)).session_id == spare.sandbox_id
