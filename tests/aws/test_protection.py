"""ECS is told to leave a busy task alone: once, again before it forgets, and when it is over."""

import asyncio
import json

import httpx2

from opensessions.aws.protection import EVERY, MINUTES, Protection


def told(*busy: bool | None) -> list[dict[str, object]]:
    """What the agent hears over these moments; None is one in which it is away, and busy."""
    heard: list[dict[str, object]] = []
    now = True

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("PUT", "/api/id/task-protection/v1/state")
        if away:
            return httpx2.Response(500)
        heard.append(json.loads(request.content))
        return httpx2.Response(200)

    async def moments() -> None:
        nonlocal now, away
        protection = Protection("http://169.254.170.2/api/id", lambda: now)
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
            for moment in busy:
                now, away = moment is not False, moment is None
                await protection.tell(client)

    away = False
    asyncio.run(moments())
    return heard


ON = {"ProtectionEnabled": True, "ExpiresInMinutes": MINUTES}
OFF = {"ProtectionEnabled": False}


def test_only_changes_are_told() -> None:
    assert told(False, True, True, False, False) == [ON, OFF]


def test_what_was_not_heard_is_told_again() -> None:
    assert told(None, None, True) == [ON]


def test_a_long_call_stays_protected() -> None:
    half = int(MINUTES * 60 / 2 / EVERY)
    assert told(*[True] * (half + 2)) == [ON, ON]
