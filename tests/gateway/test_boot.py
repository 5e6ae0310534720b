"""The way of a boot ticket through the gateway."""

import httpx2

from opensessions.access import tokens
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


async def test_an_answer_that_is_lost_behind_the_gateway_is_given_again(here: World) -> None:
    class Losing(httpx2.AsyncBaseTransport):
        """What is asked arrives; of the answers the first one does not."""

        def __init__(self, real: httpx2.ASGITransport) -> None:
            self.real, self.lost = real, 0

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            answer = await self.real.handle_async_request(request)
            if not self.lost:
                self.lost += 1
                raise httpx2.ReadError("lost")
            return answer

    session = here.create()
    shown = {"Authorization": f"Bearer {tokens.boot_ticket(here.token(session))}", "Boot-Nonce": "a" * 64}
    async with sandbox_side(here, transport=Losing) as side:
        answers = [await side.client.post("/sandbox/v1/boot", headers=shown) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503, 200, 200]
        assert answers[1].json() == answers[2].json()
        assert here.testimony.identify(answers[1].json()["token"], "worker")
        stolen = await side.client.post("/sandbox/v1/boot", headers={**shown, "Boot-Nonce": "b" * 64})
    assert stolen.status_code == 401 and not here.now(session).live


async def test_a_nonce_that_is_none_is_refused_and_the_ticket_kept(here: World) -> None:
    session = here.create()
    shown = {"Authorization": f"Bearer {tokens.boot_ticket(here.token(session))}"}
    async with sandbox_side(here) as side:
        for wrong in ("", "a" * 63, "A" * 64, "g" * 64):
            answer = await side.client.post("/sandbox/v1/boot", headers={**shown, "Boot-Nonce": wrong})
            assert answer.status_code == 400
        assert (await side.client.post("/sandbox/v1/boot", headers=shown)).status_code == 200


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
