"""What each operation costs in DynamoDB, and what follows for a session and a month."""

import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from moto import mock_aws

from bench import pace, typical
from bench.capacity import Meter, Units
from bench.figures import heading, table
from bench.processes import REPOSITORY
from gateway.hub import Hub
from gateway.inbox import Inbox
from infra import costs
from opensessions.access import tokens
from opensessions.access.admission import Admission
from opensessions.access.keys import Keys
from opensessions.archives import LISTING, Archived, Change, Part, Turn
from opensessions.aws.audit import DynamoAudit
from opensessions.aws.dynamodb import DynamoStore
from opensessions.aws.hooks import DynamoHooks
from opensessions.aws.keyring import DynamoKeyring
from opensessions.aws.ledger import DynamoLedger
from opensessions.aws.passes import DynamoPasses
from opensessions.aws.pool import DynamoSpares
from opensessions.aws.table import create_table
from opensessions.events import EventBatch, SandboxReady, TurnComplete
from opensessions.local.files import FileBlobs
from opensessions.models import AgentConfig, NewSession
from opensessions.money.allowances import Allowances
from opensessions.money.metering import Metering
from opensessions.money.prices import Prices
from opensessions.pool.pooling import Pooling
from opensessions.pool.unassigned import Unassigned
from opensessions.ports import BlobStore, Ended, Launch
from opensessions.sessions.keeping import Keeper, place
from opensessions.sessions.lifecycle import Deadlines
from opensessions.sessions.service import Quota, Service
from opensessions.sessions.supervisor import Supervisor
from opensessions.sessions.testimony import Testimony
from opensessions.webhooks.destinations import Destinations
from opensessions.webhooks.dispatch import Dispatch
from opensessions.webhooks.endpoints import Webhooks
from tests.contract import engines

JAR = Path(
    os.environ.get("OPENSESSIONS_DYNAMODB_LOCAL")
    or REPOSITORY / ".cache/dynamodb/node_modules/amplify-dynamodb-simulator/emulator"
)
MINISTACK = REPOSITORY / ".venv-rehearsal/bin/ministack"
REQUEST = NewSession(
    prompt="Build a todo app with Next.js and Tailwind",
    user_id="user_bench",
    metadata={"project": "3f9c2b7e-51d8-4a06-9e4c-d17a8b20f6c5"},
    config=AgentConfig(system_prompt="You are a careful builder of small web apps." * 10),
)
Operation = tuple[str, Callable[[], object]]


class Tasks:
    """Sandboxes that are only remembered: what they cost is not the table's."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []

    def launch(self, launch: Launch) -> None:
        self.launches.append(launch)

    def stop(self, sandbox_id: str) -> None: ...

    def alive(self, sandbox_id: str) -> bool:
        return True

    def running(self) -> list[str]:
        return []

    def ended(self) -> list[Ended]:
        return []

    def dial(self, sandbox_id: str, port: int) -> tuple[str, int]:
        raise ConnectionRefusedError


class Bench:
    """The service over a metered table, and every operation on it; lists are of 20."""

    def __init__(self, client: Any, blobs: BlobStore) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
        self.meter = Meter(client)
        create_table(client, "sessions")
        self.store = DynamoStore("sessions", self.meter, lambda: self.now)  # type: ignore[arg-type]
        self.tasks = Tasks()
        shared: dict[str, Any] = {"clock": lambda: self.now, "wake": lambda _: None}
        preview = lambda sandbox, port: f"https://{sandbox}-p{port}.previews.example.com"  # noqa: E731
        later = lambda *_: None  # noqa: E731
        patient = Deadlines(start=10**6, silence=10**6, lifetime=10**6)
        self.blobs = blobs
        keeper = Keeper(blobs, shared["clock"])
        ledger = DynamoLedger("sessions", self.meter)
        allowances = Allowances(ledger, clock=shared["clock"])
        shared["metering"] = Metering(self.store, ledger, allowances, Prices(), later=later, **shared)
        hooks, new_id = DynamoHooks("sessions", self.meter), lambda: os.urandom(16).hex()
        sending: dict[str, Any] = {"clock": shared["clock"], "send": later}
        self.supervisor = Supervisor(
            self.store, self.tasks, keeper, deadlines=patient, later=later,
            dispatch=Dispatch(hooks, **sending), pool=self._pool(0, new_id), **shared,
        )  # fmt: skip
        self.warm = self._pool(1, new_id)
        passes = DynamoPasses("sessions", self.meter)  # type: ignore[arg-type]
        keyring = DynamoKeyring("sessions", self.meter)  # type: ignore[arg-type]
        audit = DynamoAudit("sessions", self.meter)  # type: ignore[arg-type]
        admission = Admission(self.store, passes, keyring, audit, clock=lambda: self.now)
        self.service = Service(
            self.store, self.supervisor, keeper, new_id=new_id, preview_url=preview,
            webhooks=Webhooks(hooks, Destinations(), new_id=new_id, **sending),
            quota=Quota(1000, 1000), admission=admission, **shared,
        )  # fmt: skip
        unassigned = Unassigned(self.spares, clock=shared["clock"], preview_url=preview)
        self.testimony = Testimony(
            self.store, blobs, preview_url=preview, later=later, admission=admission, unassigned=unassigned,
            **shared,
        )  # fmt: skip
        self.key, _ = Keys(keyring, audit, lambda: self.now).create("acme")
        self._said = 0

    def operations(self) -> Iterator[Operation]:
        """In an order in which each finds what it needs; to be carried out as they come."""
        service, store = self.service, self.store
        yield "sweep: nothing due", self._swept
        for _ in range(20):
            id = service.create("acme", REQUEST).id
        self._boot()
        yield "create", self._called(lambda: service.create("acme", REQUEST))
        yield "create with Idempotency-Key", self._called(lambda: service.create("acme", REQUEST, "key"))
        yield "append 1 event", lambda: self.say(1)
        yield "append 10 events", lambda: self.say(10)
        yield "append 46 events", lambda: self.say(46)
        newest = service.read("acme", id).head.last_seq
        yield "stream: push 46 events", lambda: store.events(id, newest - 46, 100)
        yield "append 100 events", lambda: self.say(100)
        yield "message", self._called(lambda: service.send("acme", id, REQUEST.user_id, "Make it blue."))
        yield "get", self._called(lambda: service.recent(service.read("acme", id)))
        yield "page of 100 events", self._called(lambda: (service.read("acme", id), store.events(id, 0, 100)))
        yield "list of 20 sessions", self._called(lambda: service.page("acme", None, None, 20, None))
        self.say(1)
        last = service.read("acme", id).head.last_seq
        yield "stream: open", self._called(lambda: service.read("acme", id))
        yield "stream: a minute of silence", _polled(Hub, lambda: store.events(id, last, 100))
        yield "stream: push 1 event", lambda: store.events(id, last - 1, 100)
        yield "inbox: a minute of silence", _polled(Inbox, self._identify)
        yield "inbox: look after an append", self._identify
        yield "sign of life", lambda: self.say(0)
        session = service.read("acme", id)
        store.commit(session, session.model_copy(update={"due_at": self.now}))
        yield "sweep: look at a session", self.supervisor.sweep
        yield "delete", self._called(lambda: service.end("acme", id))
        yield from self._sleeping(service.create("acme", REQUEST).id)
        yield from self._warm()

    def _pool(self, size: int, new_id: Callable[[], str]) -> Pooling:
        self.spares = DynamoSpares("sessions", self.meter)  # type: ignore[arg-type]
        nothing: dict[str, Any] = {name: lambda *_: None for name in ("wake", "later", "refill")}
        return Pooling(
            self.store, self.spares, self.tasks, size=size, fingerprint="arn", clock=lambda: self.now,
            new_id=new_id, start_seconds=10**6, **nothing,
        )  # fmt: skip

    def _warm(self) -> Iterator[Operation]:
        """The life of a spare."""
        self.supervisor.pool = self.warm
        yield "spare: launch, boot, ready", self._readied
        spare = self.spares.all()[0]
        times = round(60 / inspect.signature(Inbox).parameters["spare_poll_seconds"].default)
        yield "spare: a minute of waiting", lambda: [self.testimony.holds(spare) for _ in range(times)]
        yield "spare: sign of life", lambda: self.testimony.record_events(self.token, EventBatch(first_seq=2))
        yield "create with a spare", self._called(lambda: self.service.create("acme", REQUEST))

    def _readied(self) -> None:
        self.warm.fill()
        self._boot()
        self._record(SandboxReady())
        self.testimony.record_events(self.token, EventBatch(first_seq=2, state="idle"))

    def _sleeping(self, id: str) -> Iterator[Operation]:
        """What is done with a session that has twenty versions."""
        self._boot()
        self._record(SandboxReady(), TurnComplete(reason="completed", inbox_seq=1))
        for _ in range(19):
            self._archived(id, "light")
        yield "a version saved", lambda: self._archived(id, "light")
        versions = self._called(lambda: (self.service.read("acme", id), self.store.versions(id, 0, 100)))
        yield "list of 20 versions", versions
        yield "hibernate", lambda: self._asleep(id)
        yield "wake", lambda: self._awake(id)

    def say(self, count: int) -> None:
        """The sandbox posts so many events."""
        self.now += timedelta(seconds=20)
        self._record(*typical.events(self._said + count)[self._said :])

    def _record(self, *said: Any) -> None:
        batch = EventBatch.model_validate({"v": 1, "first_seq": self._said + 1, "events": said})
        self._said += len(said)
        self.testimony.record_events(self.token, batch)

    def _boot(self) -> None:
        """The sandbox that was launched last begins to speak."""
        ticket = tokens.boot_ticket(self.tasks.launches[-1].token)
        self.token, self._said = self.testimony.boot(ticket, "10.0.0.1"), 0

    def _archived(self, id: str, kind: Literal["full", "light"], inbox_seq: int = 0) -> None:
        """The sandbox has stored an archive; a light one comes after a turn that changed five files."""
        archive_id, part = os.urandom(16).hex(), Part(size=1, sha256="ab" * 32)
        for number in (0, LISTING):
            self.blobs.put(f"{place(id, archive_id)}/{number}", b"x")
        files = [Change(path=f"src/components/part-{n}/index.tsx", change="modified") for n in range(5)]
        turn = Turn(
            message_id=f"msg_{archive_id}", text=REQUEST.prompt, commit="ab" * 20, claude_session_id="c" * 36,
            files=files, changed=5, diff="+",
        )  # fmt: skip
        archived = Archived(
            kind=kind, parts=[part], listing=part, bytes=10**8, files=1000, commit="ab" * 20,
            claude_session_id="c" * 36, inbox_seq=inbox_seq, turns=[turn] if kind == "light" else [],
        )  # fmt: skip
        self.testimony.archived(self.token, archive_id, archived)

    def _asleep(self, id: str) -> None:
        """Told to, archived, and looked at once more by the sweep."""
        told = self.service.hibernate("acme", id)
        self._archived(id, "full", told.hibernating or 0)
        self.now += timedelta(seconds=61)
        self.supervisor.sweep()

    def _awake(self, id: str) -> None:
        """Wanted by a visitor, launched, and heard of."""
        self.testimony.wanted(id)
        session = self.service.read("acme", id)
        self.supervisor.relaunch(session.sandbox_id, session.launch)
        self._boot()
        self._record(SandboxReady())

    def _called(self, action: Callable[[], object]) -> Callable[[], object]:
        """With the look at the API key that comes before every call."""
        return lambda: (self.service.authenticate(self.key), action())

    def _swept(self) -> None:
        self.supervisor.sweep()
        self.supervisor.waiting()

    def _identify(self) -> None:
        self.testimony.identify(self.token, "worker")


def _polled(what: Callable[..., object], action: Callable[[], object]) -> Callable[[], object]:
    """A minute of polling at the pace that is `what`'s default."""
    times = round(60 / inspect.signature(what).parameters["poll_seconds"].default)
    return lambda: [action() for _ in range(times)]


def counted(client: Any) -> dict[str, tuple[Units, Units]]:
    """Each operation's cost on a new table: by the rules, and as the answers reported."""
    with tempfile.TemporaryDirectory() as blobs:
        bench = Bench(client, FileBlobs(Path(blobs)))
        return {name: bench.meter.measured(action) for name, action in bench.operations()}


def by_rule() -> dict[str, Units]:
    """Counted in process, on moto, whose items are right and whose reported units are not looked at."""
    with mock_aws():
        client = engines.client()
        return {name: ruled for name, (ruled, _) in counted(client).items()}


def measure() -> None:
    """Print what each operation costs, by AWS's documented rules and as two emulators report it."""
    heading(
        "Request units of DynamoDB",
        "By the documented rules, from the items as stored; beside them what emulators report: reads by",
        "Amazon's DynamoDB Local, writes by ministack (each is known to be wrong about the other). The rules",
        "are the dearer where they differ: what finds nothing costs a unit, an index twice in a transaction.",
    )
    ruled, reads, writes = by_rule(), _reported_reads(), _reported_writes()
    rows = [["", "reads", "reported", "writes", "reported", "USD a million times"]]
    for name, units in ruled.items():
        read, written = reads.get(name), writes.get(name)
        rows.append([name, f"{units.reads:g}", _shown(read), f"{units.writes:g}", _shown(written),
                     f"{1e6 * costs.units(units.reads, units.writes):.3f}"])  # fmt: skip
    table(rows)
    _paces()
    if ruled != {name: Units(*units) for name, units in costs.UNITS.items()}:
        print("\n  infra/units.json is out of date: `python -m bench.request_units` writes it anew.")
    print("\n" + costs.report())


def _paces() -> None:
    """How many posts the outbox makes, beside what infra/costs.py counts with."""
    session = pace.in_steps(costs.EVENTS, 1800)
    print(f"\n  {sum(session)} events in 30 minutes, step by step: {len(session)} posts ({costs.POSTS})")
    fastest = pace.without_end(60, 0.01)
    posts, each = len(fastest) * 60, sum(fastest) / len(fastest)
    counted = f"({costs.FASTEST_POSTS} of {costs.FASTEST_EVENTS})"
    print(f"  100 events a second for an hour: {posts} posts of {each:.1f} events {counted}")


def write() -> None:
    """Put what is counted into infra/units.json."""
    lines = (f"  {json.dumps(name)}: [{u.reads:g}, {u.writes:g}]" for name, u in by_rule().items())
    (REPOSITORY / "infra/units.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _reported_reads() -> dict[str, float]:
    if not (JAR / "DynamoDBLocal.jar").exists() or not shutil.which("java"):
        print("  (DynamoDB Local is not at hand: `make test-dynamodb` fetches it; it needs Java 17.)")
        return {}
    with tempfile.TemporaryDirectory() as data, engines.dynamodb_local(str(JAR), Path(data)) as client:
        return {name: reported.reads for name, (_, reported) in counted(client).items()}


def _reported_writes() -> dict[str, float]:
    if not MINISTACK.exists():
        print("  (ministack is not at hand: `make test-rehearsal` sets it up.)")
        return {}
    with tempfile.TemporaryDirectory() as data, engines.ministack(str(MINISTACK), Path(data)) as client:
        return {name: reported.writes for name, (_, reported) in counted(client).items()}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


if __name__ == "__main__":
    write()
