"""What the gateway tells of callers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from gateway.sightings import Sightings, origin
from opensessions.errors import Unauthorized
from tests.gateway.stream_parts import API_KEY, S1, WITH_KEY, Public, public, until


@dataclass
class Heard:
    """A callback that hears, once it has failed so many times."""

    fails: int = 0
    asked: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def client(self) -> httpx2.AsyncClient:
        def answer(request: httpx2.Request) -> httpx2.Response:
            assert request.url.path == "/callback/v1/sightings"
            self.asked += 1
            if self.asked <= self.fails:
                raise httpx2.ConnectError("away")
            self.bodies.append(json.loads(request.content))
            return httpx2.Response(204)

        return httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://callback")

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [entry for body in self.bodies for entry in body["entries"]]

    @property
    def keys(self) -> list[str]:
        return [key for body in self.bodies for key in body["keys"]]


@asynccontextmanager
async def heard(fails: int = 0) -> AsyncIterator[tuple[Public, Heard, Sightings]]:
    callback = Heard(fails)
    async with callback.client() as client:
        sightings = Sightings(client, soon=0.01, pause=0.01)
        async with public(saw=sightings.saw) as side:
            yield side, callback, sightings
        await sightings.aclose()


async def test_a_tokens_stream_is_told_and_a_keys_is_a_use_of_the_key() -> None:
    async with heard(fails=2) as (side, callback, _):
        async with side.client.stream("GET", side.path(token=side.sessions.token(), user_id="u1")):
            await until(lambda: callback.entries)
        async with side.watch():
            await until(lambda: callback.keys)
    (told,) = callback.entries
    assert told["by"] == {"kind": "token", "id": None, "name": None, "scope": "read", "session_id": S1}
    assert (told["action"], told["target"], told["user_id"]) == ("stream_events", S1, "u1")
    assert (told["account"], told["ip"], told["result"]) == ("acme", "127.0.0.1", 200)
    assert callback.keys == [API_KEY.hash]


async def test_who_was_known_and_is_refused_is_told_and_a_stranger_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with heard() as (side, callback, sightings):
        token = side.sessions.token()
        caller = side.sessions.authenticate(token)

        def refuse(secret: str) -> None:
            raise Unauthorized("revoked", caller if secret == token else None)

        monkeypatch.setattr(side.sessions, "authenticate", refuse)
        for shown in (token, WITH_KEY["X-API-Key"], token):
            answer = await side.client.get(side.path(), headers={"X-API-Key": shown})
            assert answer.status_code == 401
        await sightings.aclose()
    assert {(entry["action"], entry["result"]) for entry in callback.entries} == {("stream_events", 401)}
    assert len({entry["id"] for entry in callback.entries}) == 1


async def test_nothing_is_left_running_and_a_lost_service_is_given_up() -> None:
    async with heard(fails=10**6) as (side, callback, sightings):
        async with side.client.stream("GET", side.path(token=side.sessions.token())):
            await until(lambda: callback.asked > 2)
        await sightings.aclose(within=0.2)
        assert [task for task in asyncio.all_tasks() if task.get_name() == "sightings"] == []


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, "192.0.2.1"),
        ({"x-caller-ip": "198.51.100.9"}, "192.0.2.1"),
        ({"x-forwarded-for": "203.0.113.5"}, "203.0.113.5"),
        ({"x-forwarded-for": "1.1.1.1, 8.8.8.8"}, "8.8.8.8"),
        ({"x-forwarded-for": "8.8.8.8", "x-caller-ip": "1.1.1.1"}, "8.8.8.8"),
        ({"x-forwarded-for": "1.2.3.4, 10.0.1.9", "x-caller-ip": "8.8.4.4"}, "8.8.4.4"),
        ({"x-forwarded-for": "10.0.1.9", "x-caller-ip": "x"}, "10.0.1.9"),
        ({"x-forwarded-for": "<b>"}, None),
    ],
)
def test_where_a_request_came_from_is_what_our_own_say(headers: dict[str, str], wanted: str | None) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "client": ("192.0.2.1", 1), "headers": raw}
    assert origin(Request(scope)) == wanted
