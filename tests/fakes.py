"""Small real implementations that tests of the service stand on."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opensessions.access import tokens
from opensessions.access.admission import Admission
from opensessions.access.audit import Audit
from opensessions.access.keyring import Key, Keyring, Scope, key_id
from opensessions.access.model_keys import ModelKeys
from opensessions.access.passes import Pass, Passes
from opensessions.archives import LISTING, Archived, Change, Kept, Part, Turn
from opensessions.errors import LaunchFailed, NoCapacity
from opensessions.events import EventBatch, Result, SandboxReady, TurnComplete, TurnStarted
from opensessions.local.audit import SqliteAudit
from opensessions.local.database import Database
from opensessions.local.files import FileBlobs
from opensessions.local.hooks import SqliteHooks
from opensessions.local.keyring import SqliteKeyring
from opensessions.local.ledger import SqliteLedger
from opensessions.local.passes import SqlitePasses
from opensessions.local.pool import SqliteSpares
from opensessions.local.sqlite import SqliteStore
from opensessions.models import NewSession, Session
from opensessions.money.allowances import Allowances
from opensessions.money.ledger import Ledger
from opensessions.money.metering import Metering
from opensessions.money.prices import Prices, price
from opensessions.notices import AnyEvent
from opensessions.pool.pooling import Pooling
from opensessions.pool.spares import Spares
from opensessions.pool.unassigned import Unassigned
from opensessions.ports import BlobStore, Ended, Later, Launch, SessionStore
from opensessions.sessions.keeping import Keeper, place
from opensessions.sessions.lifecycle import Deadlines
from opensessions.sessions.service import Quota, Service
from opensessions.sessions.supervisor import Supervisor
from opensessions.sessions.testimony import Recorded, Testimony
from opensessions.webhooks.destinations import Destinations
from opensessions.webhooks.dispatch import Dispatch
from opensessions.webhooks.endpoints import Webhooks
from opensessions.webhooks.hooks import Errand, Hooks

PRICES = {"claude-test": price(1, 10)}
"""A dollar for a million tokens that go in, ten for those that come out."""


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
    so many for want of capacity; `ends` is what it remembers of those that ended. `doubled` are launches of
    sandboxes whose launch before still ran.
    """

    def __init__(self) -> None:
        self.live: dict[str, Launch] = {}
        self.ends: list[Ended] = []
        self.launches: list[Launch] = []
        self.doubled: list[Launch] = []
        self.refuse: str | None = None
        self.lack = 0

    def launch(self, launch: Launch) -> None:
        if self.lack:
            self.lack -= 1
            raise NoCapacity("There is no capacity for a sandbox at the moment.")
        if self.refuse:
            raise LaunchFailed(self.refuse)
        self.launches.append(launch)
        if launch.sandbox_id in self.live:
            self.doubled.append(launch)
        self.live[launch.sandbox_id] = launch

    def stop(self, sandbox_id: str) -> None:
        self.live.pop(sandbox_id, None)

    def alive(self, sandbox_id: str) -> bool:
        return sandbox_id in self.live

    def running(self) -> list[str]:
        return list(self.live)

    def ended(self) -> list[Ended]:
        return list(self.ends)


class FakePasses:
    """Passes of one process."""

    def __init__(self) -> None:
        self._kept: dict[str, Pass] = {}

    def put(self, token_hash: str, new: Pass) -> None:
        self._kept[token_hash] = new

    def get(self, session_id: str, token_hash: str) -> Pass | None:
        return self._kept.get(token_hash)

    def take(self, session_id: str, token_hash: str) -> Pass | None:
        return self._kept.pop(token_hash, None)


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
    private_previews: bool = True
    models: frozenset[str] | None = None
    model_keys: ModelKeys | None = None
    passes: Passes = field(default_factory=FakePasses)
    keyring: Keyring = None  # type: ignore[assignment]
    audit: Audit = None  # type: ignore[assignment]
    blobs: BlobStore = None  # type: ignore[assignment]
    ledger: Ledger = None  # type: ignore[assignment]
    day_cost_usd: float | None = None
    hooks: Hooks = None  # type: ignore[assignment]
    errands: list[tuple[Errand, int]] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    put_off: list[tuple[str, int, int]] = field(default_factory=list)
    spares: Spares = None  # type: ignore[assignment]
    warm_pool: int = 0
    fingerprint: str = "as it is"
    refills: list[None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blobs = self.blobs or FileBlobs(self.folder / "blobs")
        shared: dict[str, Any] = {"clock": self.clock, "wake": self.woken.append}
        named = {**shared, "preview_url": lambda sandbox, port: f"https://{sandbox}-p{port}.preview.test"}
        later = lambda *put_off: self.put_off.append(put_off)  # noqa: E731
        self.keeper = Keeper(self.blobs, self.clock)
        self.hooks = self.hooks or SqliteHooks(Database(self.folder / "hooks.db"), self.clock)
        new_id = lambda: secrets.token_hex(16)  # noqa: E731
        sending: dict[str, Any] = {"clock": self.clock, "send": lambda *sent: self.errands.append(sent)}
        self.dispatch = Dispatch(self.hooks, **sending)
        webhooks = Webhooks(self.hooks, Destinations(("preview.test",)), new_id=new_id, **sending)
        self.ledger = self.ledger or SqliteLedger(Database(self.folder / "ledger.db"), self.clock)
        self.allowances = Allowances(self.ledger, clock=self.clock, day_cost_usd=self.day_cost_usd)
        self.metering = Metering(
            self.store, self.ledger, self.allowances, Prices(PRICES), later=later, **shared
        )
        shared, named = shared | {"metering": self.metering}, named | {"metering": self.metering}
        self.keyring = self.keyring or SqliteKeyring(Database(self.folder / "keys.db"))
        self.audit = self.audit or SqliteAudit(Database(self.folder / "audit.db"))
        told = {"clock": self.clock, "wake": self.woken.append}
        named["admission"] = Admission(self.store, self.passes, self.keyring, self.audit, **told)
        self.supervisor = Supervisor(
            self.store,
            self.runtime,
            self.keeper,
            deadlines=self.deadlines,
            later=later,
            dispatch=self.dispatch,
            pool=self._pool(later, new_id),
            **shared,
        )
        about: dict[str, Any] = {"clock": self.clock, "preview_url": named["preview_url"]}
        said: dict[str, Any] = {**named, "later": later, "unassigned": Unassigned(self.spares, **about)}
        self.testimony = Testimony(self.store, self.blobs, max_live=self.quota.live, **said)
        rules: dict[str, Any] = {"quota": self.quota, "narrows_egress": self.narrows_egress}
        rules["webhooks"] = webhooks
        rules["private_previews"] = self.private_previews
        rules |= {"models": self.models, "model_keys": self.model_keys}
        self.service = Service(self.store, self.supervisor, self.keeper, new_id=new_id, **rules, **named)

    def _pool(self, later: Later, new_id: Callable[[], str]) -> Pooling:
        own = self.store._database if isinstance(self.store, SqliteStore) else None
        self.spares = self.spares or SqliteSpares(own or Database(self.folder / "pool.db"))
        return Pooling(
            self.store,
            self.spares,
            self.runtime,
            size=self.warm_pool,
            fingerprint=self.fingerprint,
            clock=self.clock,
            new_id=new_id,
            wake=self.woken.append,
            later=later,
            refill=lambda: self.refills.append(None),
            start_seconds=self.deadlines.start,
        )

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

    def pack(self, session: Session, kind: str = "light", archive_id: str | None = None, **more: Any) -> Kept:
        """The sandbox makes an archive, and ends if it is told to."""
        archive_id = archive_id or secrets.token_hex(16)
        for number, data in PARTS.items():
            self.blobs.put(f"{place(session.id, archive_id)}/{number}", data)
        kept = self.testimony.archived(self.token(session), archive_id, archived(kind, **more))
        if kept.stop:
            self.runtime.live.pop(session.sandbox_id)
        return kept

    def keep_turn(self, session: Session, text: str = "Make it blue", **more: Any) -> Session:
        """A whole turn, and the version after it."""
        session = self.turn(session)
        number = session.versions + 1
        said = changed(text, number).model_copy(update={k: more[k] for k in more if k in Turn.model_fields})
        kept = self.pack(session, commit=commit(number), turns=[said], **more)
        assert kept.version == session.versions + 1
        return self.now(session)

    def fall_asleep(self, session: Session, **more: Any) -> Session:
        """The sandbox does what it was told at bedtime."""
        asked = self.now(session).hibernating
        assert asked is not None and self.pack(session, "full", inbox_seq=asked, **more).stop
        return self.now(session)

    def sleep(self, session: Session) -> Session:
        self.service.hibernate("acme", session.id)
        return self.fall_asleep(session)

    def catch_up(self) -> None:
        """What was put off is done now."""
        while self.put_off:
            self.supervisor.relaunch(*self.put_off.pop(0)[:2])

    def kept(self, session: Session) -> list[tuple[str, str]]:
        """The archives that there are, as the session and as the blobs have them: kinds and ids."""
        archives = self.now(session).archives
        names = self.blobs.names(f"sessions/{session.id}/archives")
        assert sorted(archive.id for archive in archives) == names
        return [(archive.kind, archive.id) for archive in archives]

    def types(self, session: Session) -> Sequence[str]:
        return [event.type for event in self.store.events(session.id, 0, 1000)]


PARTS = {0: b"a tar", LISTING: b"its listing"}


def archived(kind: str = "light", **more: Any) -> Archived:
    """What a sandbox says of an archive whose blobs are `PARTS`."""
    parts = {number: Part(size=len(data), sha256=tokens.sha256("x")) for number, data in PARTS.items()}
    said: dict[str, Any] = {"kind": kind, "bytes": 1000, "files": 3, "claude_session_id": "c1"}
    return Archived(**{**said, "parts": [parts[0]], "listing": parts[LISTING], **more})


def changed(text: str = "Make it blue", number: int | None = None) -> Turn:
    """A turn that made one file; with a number, it is committed."""
    name, talk = (commit(number), "c1") if number else (None, None)
    files = [Change(path="app/index.html", change="added")]
    return Turn(text=text, commit=name, claude_session_id=talk, files=files, changed=1, diff=f"+{text}")


def commit(number: int) -> str:
    """A commit's name, of its own for each number."""
    return f"{number:040x}"


def world(folder: Path, **more: Any) -> World:
    database = Database(folder / "sessions.db")
    more = {"passes": SqlitePasses(database), "keyring": SqliteKeyring(database), "clock": Clock(), **more}
    more = {"audit": SqliteAudit(database), **more}
    ledger, hooks = SqliteLedger(database, more["clock"]), SqliteHooks(database, more["clock"])
    store = SqliteStore(database, stored=lambda *stored: made.dispatch.stored(*stored))
    made = World(store, folder, ledger=ledger, hooks=hooks, **more)
    return made


def open_account(keyring: Keyring, account: str = "acme", scope: Scope = "admin") -> str:
    """A key that opens an account."""
    key = tokens.api_key()
    hashed, name = tokens.sha256(key), secrets.token_hex(4)
    new = {"id": key_id(hashed), "hash": hashed, "account": account, "name": name, "scope": scope}
    keyring.put(Key.model_validate({**new, "created_at": datetime.now(UTC)}))
    return key
