"""The nouns of the system. All are frozen; a change is a new value that a store commits whole or not at
all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

from opensessions.archives import WORKSPACE_BYTES, Change
from opensessions.events import Artifact, InboxItem, Level

if TYPE_CHECKING:
    from opensessions.pool.spares import Spare


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`: "2026-11-24T06:30:00.000Z"."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[datetime, PlainSerializer(timestamp, return_type=str)]


class Status(StrEnum):
    """What a session does. `RUNNING` → `READY` → `RUNNING` …; every state may go to `ERROR` or `ENDED`."""

    RUNNING = "running"
    READY = "ready"
    ERROR = "error"
    ENDED = "ended"


class SandboxStatus(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    HIBERNATED = "hibernated"
    STOPPED = "stopped"


Preview = Literal["public", "private"]
"""Who sees a session's previews: whoever knows the address, or who was given a token."""

LIVE = frozenset({SandboxStatus.STARTING, SandboxStatus.RUNNING})
"""The states in which a sandbox costs money and counts against the quota."""


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Head(Model):
    """What changes with every event, kept small because every append rewrites it.

    `rev` counts the writes (the condition of each commit). `last_seq` numbers the session's events,
    `agent_seq` those of the present launch of its sandbox, `inbox_seq` the items sent to it; `asked_seq` is
    the newest item that asks for a turn, `answered_seq` the newest whose turn is over. `heard_at` is when the
    sandbox last gave a sign of life, `active_at` when somebody last used the session, `turn_at` when a
    sandbox was first there for the running turn.
    """

    rev: int = 0
    status: Status = Status.RUNNING
    sandbox_status: SandboxStatus = SandboxStatus.STARTING
    last_seq: int = 0
    agent_seq: int = 0
    inbox_seq: int = 0
    asked_seq: int = 0
    answered_seq: int = 0
    updated_at: Timestamp
    heard_at: Timestamp | None = None
    active_at: Timestamp | None = None
    turn_at: Timestamp | None = None


class Limits(Model):
    """Bounds of one session; None: no bound. `cost_usd` and `tokens` are what its model calls may come to,
    `turns` how many messages it takes. A turn is interrupted after `turn_seconds`, the session ended
    `lifetime_seconds` after its creation. `idle_seconds` without use send it to sleep (None: it stays awake);
    `workspace_bytes` is what its files may have unpacked, `egress_bytes` what its sandboxes may send and
    receive.
    """

    cost_usd: float | None = None
    tokens: int | None = None
    turns: int | None = None
    turn_seconds: int | None = None
    lifetime_seconds: int | None = None
    idle_seconds: int | None = 600
    workspace_bytes: int = WORKSPACE_BYTES
    egress_bytes: int | None = None


class Archive(Model):
    """A durable archive of a workspace: `size` bytes stored, `bytes` unpacked. It holds the state after
    `version` (0: before any). Where a session begins with another's, `commit` and `claude_session_id` are of
    the version of it to go back to, and `fresh` tells to forget its versions and its conversation.
    """

    id: str
    kind: Literal["full", "light"]
    size: int
    bytes: int
    files: int
    version: int = 0
    commit: str | None = None
    claude_session_id: str | None = None
    fresh: bool = False
    created_at: Timestamp


class Version(Model):
    """The state after a turn: `parent` is the version that the turn began with (0: none). `files` are the
    first few of the `changed` files, `commit` the state in the sandbox's history. `turn` is the number of the
    turn; None where it was another session's.
    """

    number: int
    parent: int = 0
    title: str
    message_id: str | None = None
    files: tuple[Change, ...] = ()
    changed: int = 0
    commit: str
    claude_session_id: str | None = None
    turn: int | None = None
    created_at: Timestamp


class TemplateStatus(StrEnum):
    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"


class Template(Model):
    """A prepared workspace to begin sessions with, made of a session's; on its own once it is ready."""

    id: str
    account: str
    name: str
    session_id: str
    status: TemplateStatus
    archive: Archive | None = None
    created_at: Timestamp


class Subscription(Model):
    """A webhook that is told of a session's events of these types; "*" is all."""

    hook_id: str
    events: tuple[str, ...] = ("*",)

    def wants(self, event_type: str) -> bool:
        return "*" in self.events or event_type in self.events


class Session(Model):
    """One session: what rarely changes, and its head.

    `launch` counts the starts of its sandbox and `assign_seq` is the inbox item with which the present one
    began. `tokens` maps a kind ("worker", "model", "egress", "boot", and "booted" for a boot ticket that was
    used) to the SHA-256 of the present launch's token, in hex. `address` is where the sandbox was when it
    booted, for runtimes that learn it so. `lacked` are the launches in a row, the present one with them, that
    found no capacity. `due_at` is when the sweep looks at the session next; None when
    nothing is left to watch. `hooks` are the account's webhooks at its creation, and its own.

    `archives` are those to come back from, oldest first; up to `stored_at` their bytes were metered.
    `version` is the version that the workspace is at, or was before the running turn, `versions` how many
    there are. `losses` counts the sandboxes that were lost since a turn was last over. `hibernating` is the
    inbox item that told the sandbox to make ready for sleep, as long as that holds. `revocations` counts how
    often all of its tokens were revoked.

    `asked` counts the messages that were taken, `turns` the turns that are over; `answered` maps the newest
    messages that were answered to the numbers of their turns. `told` maps what watchers were told of a bound
    to the bound as it was then. `halting_at` is when the session was told to stop
    because a budget is used up. `ran_until` is when the sandbox of the present launch ended; None while it
    runs, and for a launch that never began. `pooled`: the present launch was the pool's, and ran before the
    session was. `traces` maps messages that are not answered yet to the `traceparent` of their requests, if
    anybody wants traces.
    """

    id: str
    account: str
    user_id: str
    user_email: str = ""
    user_name: str = ""
    sandbox_id: str
    title: str
    framework: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    metadata: dict[str, str] = {}
    hooks: tuple[Subscription, ...] = ()
    model: str | None = None
    allowed_hosts: tuple[str, ...] | None = None
    launch: int = 1
    launched_at: Timestamp
    assign_seq: int = 1
    tokens: dict[str, str] = {}
    address: str | None = None
    lacked: tuple[int, ...] = ()
    due_at: Timestamp | None = None
    limits: Limits = Limits()
    archives: tuple[Archive, ...] = ()
    version: int = 0
    versions: int = 0
    losses: int = 0
    hibernating: int | None = None
    asked: int = 0
    turns: int = 0
    answered: dict[str, int] = {}
    told: dict[str, int] = {}
    halting_at: Timestamp | None = None
    ran_until: Timestamp | None = None
    stored_at: Timestamp | None = None
    pooled: bool = False
    traces: dict[str, str] = {}
    preview: Preview = "public"
    revocations: int = 0
    created_at: Timestamp
    head: Head

    @property
    def live(self) -> bool:
        return self.head.sandbox_status in LIVE

    @property
    def put_off(self) -> bool:
        """Whether the present launch found no capacity, so that another one is to come."""
        return self.head.sandbox_status is SandboxStatus.STARTING and self.launch in self.lacked


class AgentConfig(Model):
    """How the caller wants the agent, after validation (see `http.requests`)."""

    system_prompt: str | None = None
    skills: dict[str, str] = {}
    allowed_tools: tuple[str, ...] = ("Bash", "Read", "Write", "Edit", "Glob", "Grep")
    cwd: str = "/workspace/app"
    model: str | None = None
    max_turns: int = 50
    mcp_servers: dict[str, dict[str, Any]] = {}
    allowed_hosts: tuple[str, ...] | None = None
    start_command: str | None = None
    preview: Preview = "public"


class Origin(Model):
    """What a session begins with: a template, or a session as it was after a version (None: its newest)."""

    session_id: str | None = None
    version: int | None = None
    template_id: str | None = None


class NewHook(Model):
    """A webhook that is asked for."""

    url: str
    events: tuple[str, ...] = ("*",)


class NewSession(Model):
    """A request to create a session, after validation."""

    prompt: str
    user_id: str
    user_email: str = ""
    user_name: str = ""
    config: AgentConfig = AgentConfig()
    metadata: dict[str, str] = {}
    limits: Limits = Limits()
    hook: NewHook | None = None
    origin: Origin | None = None


class Message(Model):
    id: str
    role: Literal["user", "assistant"]
    content: str
    created_at: Timestamp


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event: what was said, and the number under which everybody sees it."""

    seq: int
    id: str
    type: str
    level: Level
    created_at: str
    payload: Mapping[str, Any]

    def frame(self) -> dict[str, Any]:
        """The JSON object that clients get: the payload, and the service's own fields above it."""
        own = {
            "id": self.id,
            "seq": self.seq,
            "type": self.type,
            "level": self.level,
            "createdAt": self.created_at,
        }
        return {**self.payload, **own}


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key in use: `fingerprint` is of the request that claimed it."""

    account: str
    key: str
    fingerprint: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What one commit adds beside the session itself. Inbox items are (number, item) pairs. A new session
    takes its sandbox from the pool where it is the `spare`'s.
    """

    events: tuple[Event, ...] = ()
    messages: tuple[Message, ...] = ()
    inbox: tuple[tuple[int, InboxItem], ...] = ()
    config: AgentConfig | None = None
    claim: Claim | None = None
    versions: tuple[Version, ...] = ()
    spare: "Spare | None" = None


NOTHING = Changes()


@dataclass(frozen=True, slots=True)
class Page:
    """Sessions, newest first. `cursor` continues where `sessions` ends; None at the end."""

    sessions: list[Session] = field(default_factory=list)
    cursor: str | None = None
