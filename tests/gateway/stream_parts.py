"""Sessions in memory, a server on a real port, and a client that reads server-sent events as browsers do."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from gateway.hub import Hub
from gateway.sse import OpenStreams
from gateway.streams import EventStreams, streams_app
from opensessions.access.callers import Caller
from opensessions.access.keyring import Key
from opensessions.access.passes import Pass
from opensessions.access.tokens import session_token
from opensessions.errors import NotFound, Unauthorized
from opensessions.models import Event, Head, Session, Status
from tests.gateway.model_parts import serving, until

__all__ = ["serving", "until"]

S1 = "session_" + "1" * 32
KEY = "osb_" + "k" * 40
WITH_KEY = {"X-API-Key": KEY}
API_KEY = Key(id="key_1", hash="", account="acme")
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def event(seq: int, type: str = "assistant", **payload: Any) -> Event:
    payload = {"text": f"text {seq}", **payload}
    return Event(seq, f"evt_{seq}", type, "info", "2026-11-24T00:00:00.000Z", payload)


@dataclass
class Sessions:
    """The sessions of one account, "acme", whose users are all "u1". `asked` counts the reads of sessions,
    `reads` those of events. `passes` are of tokens, good while their number is `revocations`; `revoked` tells
    of the key.
    """

    events: dict[str, list[Event]] = field(default_factory=dict)
    asked: int = 0
    reads: int = 0
    fails: int = 0
    passes: dict[str, Pass] = field(default_factory=dict)
    revocations: int = 0
    revoked: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, session_id: str, count: int = 1, type: str = "assistant", **payload: Any) -> None:
        stored = self.events.setdefault(session_id, [])
        for _ in range(count):
            stored.append(event(len(stored) + 1, type, **payload))

    def read_events(self, session_id: str, after: int, limit: int) -> list[Event]:
        with self.lock:
            self.reads += 1
            if self.fails:
                self.fails -= 1
                raise OSError("the store is away")
            return self.events.get(session_id, [])[after : after + limit]

    def authenticate(self, key: str) -> Caller:
        kept = self.passes.get(key)
        if kept and kept.number == self.revocations and datetime.now(UTC) < kept.expires_at:
            return Caller("acme", "read", session_pass=kept)
        if key != KEY:
            raise Unauthorized("The API key is not known.")
        return Caller("acme", api_key=API_KEY)

    def good(self, key: Key) -> bool:
        return not self.revoked

    def token(self, session_id: str = S1, seconds: float = 900) -> str:
        """A new token for reading."""
        token, expires_at = session_token(session_id), datetime.now(UTC) + timedelta(seconds=seconds)
        kept = Pass(session_id=session_id, scope="read", number=self.revocations, expires_at=expires_at)
        self.passes[token] = kept
        return token

    def read(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        with self.lock:
            self.asked += 1
        if session_id not in self.events or user_id not in (None, "u1"):
            raise NotFound("Session not found")
        stored = self.events[session_id]
        ended = bool(stored) and stored[-1].type == "session_ended"
        head = Head(last_seq=len(stored), updated_at=NOW, status=Status.ENDED if ended else Status.RUNNING)
        named = {"id": session_id, "sandbox_id": "sb-1", "title": "t", "user_id": "u1", "account": account}
        numbers = {"revocations": self.revocations}
        return Session(**named, **numbers, launched_at=NOW, created_at=NOW, head=head)


@dataclass
class Public:
    """The public side, as far as streams go, and what stands behind it."""

    sessions: Sessions
    hub: Hub
    open_streams: OpenStreams
    url: str = ""
    client: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(trust_env=False))

    def path(self, session_id: str = S1, **query: Any) -> str:
        return str(httpx2.URL(f"{self.url}/v1/sessions/{session_id}/events", params=query))

    def say(self, session_id: str = S1, count: int = 1, type: str = "assistant", **payload: Any) -> None:
        """Store events, and wake the watchers."""
        self.sessions.add(session_id, count, type, **payload)
        self.hub.wake(session_id)

    @asynccontextmanager
    async def watch(
        self, session_id: str = S1, headers: dict[str, str] | None = None, **query: Any
    ) -> AsyncIterator["Frames"]:
        async with self.client.stream(
            "GET", self.path(session_id, **query), headers=WITH_KEY | (headers or {}), timeout=10
        ) as answer:
            assert answer.status_code == 200, await answer.aread()
            yield Frames(answer)


@dataclass(frozen=True)
class Frame:
    event: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Frames:
    """The frames of an answer; `raw` is all that came so far."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.raw = b""
        self._frames = self._read()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._frames

    async def next(self) -> Frame:
        return await anext(self._frames)

    async def take(self, count: int) -> list[Frame]:
        return [await self.next() for _ in range(count)]

    async def _read(self) -> AsyncIterator[Frame]:
        rest = b""
        async for chunk in self.answer.aiter_bytes():
            self.raw += chunk
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                if frame := parsed(block):
                    yield frame


def parsed(block: bytes) -> Frame | None:
    """A block of lines as WHATWG HTML has it; None when it holds no data, like `retry:`."""
    fields: dict[str, str] = {}
    for line in block.decode().split("\n"):
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    if "data" not in fields:
        return None
    return Frame(fields.get("event", "message"), fields["data"], fields.get("id", ""))


@asynccontextmanager
async def public(
    *,
    poll_seconds: float = 30.0,
    heartbeat_seconds: float = 10.0,
    stall_seconds: float = 30.0,
    unix_socket: Path | None = None,
    saw: Any = None,
    **more: Any,
) -> AsyncIterator[Public]:
    """The stream route on a real port. Its session `S1` has three events. Only waking brings news in time."""
    sessions = Sessions()
    sessions.add(S1, 3)
    hub = Hub(sessions.read_events, poll_seconds=poll_seconds)
    side = Public(sessions, hub, OpenStreams(stall_seconds=stall_seconds))
    more = {"allow_query_key": True, "heartbeat_seconds": heartbeat_seconds} | more
    app = streams_app(EventStreams(sessions, hub, side.open_streams, **more), saw=saw)
    if unix_socket:
        transport = httpx2.AsyncHTTPTransport(uds=str(unix_socket))
        side.client = httpx2.AsyncClient(trust_env=False, transport=transport)
    async with serving(app, unix_socket) as side.url, side.client:
        yield side
        await side.open_streams.drain()
