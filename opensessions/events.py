"""The wire contract between a sandbox and the service, and the payloads that clients see.

Outwards a sandbox posts an `EventBatch` to `/sandbox/v1/events` and is answered with an `Ack`. Inwards it
reads `InboxItem`s from `/sandbox/v1/inbox?after=<seq>` as server-sent events, whose `id:` is the item's
number. A sandbox's events are numbered anew, from 1, at each launch; the inbox goes on. Neither has gaps.
Nothing but pydantic is imported here, because this module is the only one of the service that goes into a
sandbox.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

WIRE_VERSION = 1

Level = Literal["info", "warning", "error"]


class Payload(BaseModel):
    """What one event says. Fields that the agent adds are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)


# ---- what a sandbox may say: testimony, never money or the session's end ----


class SandboxReady(Payload):
    """The worker runs and has opened its inbox."""

    type: Literal["sandbox_ready"] = "sandbox_ready"


class Configured(Payload):
    """The assignment is in place: what the agent was given."""

    type: Literal["configured"] = "configured"
    tools: list[str] = []
    skills: list[str] = []
    model: str | None = None
    cwd: str = "/workspace/app"


class Ready(Payload):
    """The agent is connected and takes the first turn."""

    type: Literal["ready"] = "ready"


class TurnStarted(Payload):
    """A turn began; `message_id` is the message that it answers."""

    type: Literal["turn_started"] = "turn_started"
    message_id: str | None = None


class System(Payload):
    """A `system` frame of the agent; `subtype` "init" lists its tools, skills and model."""

    type: Literal["system"] = "system"
    subtype: str


class Assistant(Payload):
    """A whole message of the agent; `message.content` is its list of blocks."""

    type: Literal["assistant"] = "assistant"
    message: dict[str, Any]
    parent_tool_use_id: str | None = None


class User(Payload):
    """What the agent's tools answered: `message.content` holds `tool_result` blocks."""

    type: Literal["user"] = "user"
    message: dict[str, Any]
    parent_tool_use_id: str | None = None


class ToolUseSummary(Payload):
    """One line about a finished tool call."""

    type: Literal["tool_use_summary"] = "tool_use_summary"
    tool: str
    summary: str
    tool_use_id: str | None = None


class PreviewReady(Payload):
    """A port answers; `url` is its public address (the service fills it in)."""

    type: Literal["preview_ready"] = "preview_ready"
    port: int = Field(ge=1024, le=65535)
    url: str | None = None


class Result(Payload):
    """The agent's account of the turn, as its SDK gives it; `result` is the final text."""

    type: Literal["result"] = "result"
    subtype: str
    is_error: bool = False
    result: str | None = None
    num_turns: int | None = None
    duration_ms: int | None = None
    total_cost_usd: float | None = None
    usage: dict[str, Any] | None = None


class Artifact(BaseModel):
    """A file that the agent made or changed, its path relative to the workspace."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(max_length=1024)
    summary: str = Field(default="", max_length=300)


class TurnComplete(Payload):
    """The turn is over. `inbox_seq` is the number of the inbox item that it answered, `pending` how many
    wait.
    """

    type: Literal["turn_complete"] = "turn_complete"
    reason: Literal["completed", "interrupted", "max_turns", "error"]
    inbox_seq: int = Field(ge=0)
    pending: int = Field(default=0, ge=0)
    claude_session_id: str | None = None
    usage: dict[str, Any] | None = None
    framework: str | None = Field(default=None, max_length=64)
    artifacts: list[Artifact] = Field(default=[], max_length=200)


class Interrupted(Payload):
    """The running turn was stopped on request; the session goes on."""

    type: Literal["interrupted"] = "interrupted"


class Error(Payload):
    """Something failed; `message` says what and what to do, `code` is for programs."""

    type: Literal["error"] = "error"
    message: str
    code: str = "error"


# ---- what only the service says ----


class SessionStarted(Payload):
    type: Literal["session_started"] = "session_started"
    message: str = "Bootstrapping sandbox..."


class UserMessage(Payload):
    """A prompt or follow-up was taken; `queued` when a turn was running."""

    type: Literal["user_message"] = "user_message"
    message_id: str
    text: str
    queued: bool = False


class SessionEnded(Payload):
    """The last event of a session."""

    type: Literal["session_ended"] = "session_ended"
    reason: str


SandboxEvent = Annotated[
    SandboxReady
    | Configured
    | Ready
    | TurnStarted
    | System
    | Assistant
    | User
    | ToolUseSummary
    | PreviewReady
    | Result
    | TurnComplete
    | Interrupted
    | Error,
    Field(discriminator="type"),
]

AnyEvent = SandboxEvent | SessionStarted | UserMessage | SessionEnded


class EventBatch(BaseModel):
    """Events number `first_seq`, `first_seq` + 1, …; an empty batch is a sign of life.

    Sent again after a failure it changes nothing. `ports` are the ports that listen now, `state` what the
    worker does.
    """

    v: int = WIRE_VERSION
    first_seq: int = Field(ge=1)
    events: list[SandboxEvent] = Field(default=[], max_length=500)
    ports: list[int] = Field(default=[], max_length=64)
    state: Literal["starting", "working", "idle"] = "working"


class Ack(BaseModel):
    """All events up to `acked` are stored for good. `expected` is the number to continue with."""

    acked: int
    expected: int


# ---- what the service says to a sandbox ----


class HistoryMessage(BaseModel):
    role: Literal["user", "assistant"]
    content: str


class Assign(BaseModel):
    """The work: always the first item of a launch. `history` holds what was said before, if this is not the
    first.

    `skills` maps a path relative to `/workspace/agent` to the file's text. `door_key` (hex) is the key of
    the door's handshake. `preview_url` has `{port}` for the port.
    """

    type: Literal["assign"] = "assign"
    session_id: str
    message_id: str
    prompt: str
    system_prompt: str | None = None
    skills: dict[str, str] = {}
    tools: list[str]
    cwd: str = "/workspace/app"
    model: str | None = None
    max_turns: int = 50
    mcp_servers: dict[str, dict[str, Any]] = {}
    history: list[HistoryMessage] = []
    preview_url: str
    door_key: str = ""


class Message(BaseModel):
    """A follow-up; it waits until the running turn is over."""

    type: Literal["message"] = "message"
    message_id: str
    text: str


class Interrupt(BaseModel):
    """Stop the running turn, if one runs, and go on with what waits."""

    type: Literal["interrupt"] = "interrupt"


class Shutdown(BaseModel):
    """Stop working; the sandbox is about to be taken away."""

    type: Literal["shutdown"] = "shutdown"


InboxItem = Annotated[Assign | Message | Interrupt | Shutdown, Field(discriminator="type")]

inbox_item: TypeAdapter[Assign | Message | Interrupt | Shutdown] = TypeAdapter(InboxItem)
