"""The way of a boot ticket through the gateway."""

import httpx2

from opensessions import tokens
from tests.fakes import World
from tests.gateway.sandbox_parts import sandbox_side


async def test_a_ticket_is_swapped_at_the_address_that_it_comes_from(here: World) -> None:
    session = here.create()
    shown = {"Authorization": f"Bearer {tokens.boot_ticket(here.token(session))}"}
    async with sandbox_side(here) as side:
        answer = await side.client.post("/sandbox/v1/boot", headers=shown)
        assert answer.status_code == 200
        token = answer.json()["token"]
        assert here.now(session).address == "127.0.0.1"
        async with side.inbox(session, token) as frames:
            assert [frame.event for frame in await frames.take(2)] == ["ping", "message"]
        again = await side.client.post("/sandbox/v1/boot", headers=shown)
        assert (again.status_code, again.json()["error"]["type"]) == (401, "unauthorized")


async def test_tickets_cannot_be_tried_one_after_the_other(here: World) -> None:
    async with sandbox_side(here) as side:
        statuses = [
            (await side.client.post("/sandbox/v1/boot", headers={"Authorization": f"Bearer {n}"})).status_code
            for n in range(25)
        ]
    assert set(statuses) == {401, 429}


async def test_a_callback_that_is_away_is_asked_again_later(here: World) -> None:
    class Away(httpx2.AsyncBaseTransport):
        def __init__(self, real: httpx2.ASGITransport) -> None: ...

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("away")

    session = here.create()
    shown = {"Authorization": f"Bearer {tokens.boot_ticket(here.token(session))}"}
    async with sandbox_side(here, transport=Away) as side:
        answer = await side.client.post("/sandbox/v1/boot", headers=shown)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
