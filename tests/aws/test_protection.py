"""ECS is told to leave a busy task alone: once, again before it forgets, and when it is over."""

import json

import httpx2

from opensessions.aws.protection import EVERY, MINUTES, Protection


async def told(*busy: bool | None) -> list[dict[str, object]]:
    """What the agent hears over these moments; None is one in which it is away, and busy."""
    heard: list[dict[str, object]] = []
    now = True

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("PUT", "/api/id/task-protection/v1/state")
        if away:
            return httpx2.Response(500)
        heard.append(json.loads(request.content))
        return httpx2.Response(200)

    away = False
    protection = Protection("http://169.254.170.2/api/id", lambda: now)
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        for moment in busy:
            now, away = moment is not False, moment is None
            await protection.tell(client)
    return heard


ON = {"ProtectionEnabled": True, "ExpiresInMinutes": MINUTES}
OFF = {"ProtectionEnabled": False}


async def test_only_changes_are_told() -> None:
    assert await told(False, True, True, False, False) == [ON, OFF]


async def test_what_was_not_heard_is_told_again() -> None:
    assert await told(None, None, True) == [ON]


async def test_a_long_call_stays_protected() -> None:
    half = int(MINUTES * 60 / 2 / EVERY)
    assert await told(*[True] * (half + 2)) == [ON, ON]
