"""Small real implementations that tests of the service stand on."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opensessions import tokens
from opensessions.errors import LaunchFailed, NoCapacity
from opensessions.events import EventBatch, Result, SandboxReady, TurnComplete, TurnStarted
from opensessions.keeping import Keeper
from opensessions.lifecycle import Deadlines
from opensessions.local.files import FileBlobs
from opensessions.local.sqlite import SqliteStore
from opensessions.models import NewSession, Session
from opensessions.notices import AnyEvent
from opensessions.ports import Ended, Launch, SessionStore
from opensessions.service import Quota, Service
from opensessions.supervisor import Supervisor
from opensessions.testimony import Recorded, Testimony


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeRuntime:
    """Sandboxes that are only remembered. `refuse` makes launches fail with this reason, `lack` the next
    so many for want of capacity; `ends` is what it remembers of those that ended.
    """

    def __init__(self) -> None:
        self.live: dict[str, Launch] = {}
        self.ends: list[Ended] = []
        self.launches: list[Launch] = []
        self.refuse: str | None = None
        self.lack = 0

    def launch(self, launch: Launch) -> None:
        if self.lack:
            self.lack -= 1
            raise NoCapacity("There is no capacity for a sandbox at the moment.")
        if self.refuse:
            raise LaunchFailed(self.refuse)
        self.launches.append(launch)
        self.live[launch.sandbox_id] = launch

    def stop(self, sandbox_id: str) -> None:
        self.live.pop(sandbox_id, None)

    def alive(self, sandbox_id: str) -> bool:
        return sandbox_id in self.live

    def running(self) -> list[str]:
        return list(self.live)

    def ended(self) -> list[Ended]:
        return list(self.ends)


@dataclass
class World:
    """A service with everything below it, and the words to drive it."""

    store: SessionStore
    folder: Path
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    clock: Clock = field(default_factory=Clock)
    quota: Quota = field(default_factory=lambda: Quota(live=3, creates=20))
    deadlines: Deadlines = field(default_factory=lambda: Deadlines(start=100, silence=60, lifetime=3600))
    narrows_egress: bool = True
    woken: list[str] = field(default_factory=list)
    put_off: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blobs = FileBlobs(self.folder / "blobs")
        shared: dict[str, Any] = {"clock": self.clock, "wake": self.woken.append}
        named = {**shared, "preview_url": lambda sandbox, port: f"https://{sandbox}-p{port}.preview.test"}
        later = lambda *put_off: self.put_off.append(put_off)  # noqa: E731
        self.keeper = Keeper(self.blobs, self.clock)
        self.supervisor = Supervisor(
            self.store, self.runtime, self.keeper, deadlines=self.deadlines, later=later, **shared
        )
        self.testimony = Testimony(self.store, self.blobs, later=later, max_live=self.quota.live, **named)
        new_id = lambda: secrets.token_hex(16)  # noqa: E731
        rules: dict[str, Any] = {"quota": self.quota, "narrows_egress": self.narrows_egress}
        self.service = Service(self.store, self.supervisor, self.keeper, new_id=new_id, **rules, **named)

    def create(self, prompt: str = "Build a todo app", account: str = "acme", **more: Any) -> Session:
        return self.service.create(account, NewSession(prompt=prompt, user_id="u1", **more))

    def token(self, session: Session) -> str:
        return self.runtime.live[session.sandbox_id].token

    def say(self, session: Session, *events: AnyEvent, first: int | None = None) -> Recorded:
        """The sandbox says something, from the number on that is expected next unless told otherwise."""
        now = self.now(session)
        batch = EventBatch(first_seq=first or now.head.agent_seq + 1, events=list(events))
        return self.testimony.record_events(self.token(session), batch)

    def now(self, session: Session) -> Session:
        found = self.store.get(session.id)
        assert found is not None
        return found

    def turn(self, session: Session, text: str = "Done.", **more: Any) -> Session:
        """A whole turn, answering the newest message."""
        asked = self.now(session).head.asked_seq
        over = TurnComplete(reason="completed", inbox_seq=asked, **more)
        self.say(session, SandboxReady(), TurnStarted(), Result(subtype="success", result=text), over)
        return self.now(session)

    def types(self, session: Session) -> Sequence[str]:
        return [event.type for event in self.store.events(session.id, 0, 1000)]


def world(folder: Path, **more: Any) -> World:
    return World(SqliteStore(folder / "sessions.db"), folder, **more)


def open_account(store: SessionStore, account: str = "acme") -> str:
    """A key that opens an account."""
    key = tokens.api_key()
    store.put_key(tokens.sha256(key), account)
    return key
