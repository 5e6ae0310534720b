"""The wire contract between a sandbox and the service, and the payloads of events, which clients see.

Outwards a sandbox posts an `EventBatch` to `/sandbox/v1/events` and is answered with an `Ack`. Inwards it
reads `InboxItem`s from `/sandbox/v1/inbox?after=<seq>` as server-sent events, whose `id:` is the item's
number. A sandbox's events are numbered anew, from 1, at each launch; the inbox goes on. Neither has gaps.
Nothing but pydantic is imported here, because this module and `archives`, which belongs to it, go into the
sandbox.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from opensessions.archives import WORKSPACE_BYTES, Beginning, Commit

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


class Restored(Payload):
    """The workspace and the conversation are as they were after `version`. `inbox_seq` is the inbox item that
    asked for it.
    """

    type: Literal["restored"] = "restored"
    version: int = Field(ge=1)
    inbox_seq: int = Field(ge=0)


class Error(Payload):
    """Something failed; `message` says what and what to do, `code` is for programs."""

    type: Literal["error"] = "error"
    message: str
    code: str = "error"


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
    | Restored
    | Error,
    Field(discriminator="type"),
]


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
    first; `beginning` the workspace and the conversation to go on with. Without a `prompt` nothing is asked
    yet.

    `skills` maps a path relative to `/workspace/agent` to the file's text. `door_key` (hex) is the key of
    the door's handshake. `preview_url` has `{port}` for the port. `start_command` is a shell's command that
    brings the preview back after a sleep, instead of what was seen to listen before.
    """

    type: Literal["assign"] = "assign"
    session_id: str
    message_id: str | None = None
    prompt: str | None = None
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
    start_command: str | None = None
    beginning: Beginning = Beginning()
    workspace_bytes: int = WORKSPACE_BYTES


class Message(BaseModel):
    """A follow-up; it waits until the running turn is over."""

    type: Literal["message"] = "message"
    message_id: str
    text: str


class Interrupt(BaseModel):
    """Stop the running turn, if one runs, and go on with what waits."""

    type: Literal["interrupt"] = "interrupt"


class Restore(BaseModel):
    """Go back to a version, files and conversation: a turn of its own, which `Restored` ends. What listens is
    started again.
    """

    type: Literal["restore"] = "restore"
    version: int
    commit: Commit
    claude_session_id: str | None = None


class Save(BaseModel):
    """Make a full archive and go on."""

    type: Literal["save"] = "save"


class Hibernate(BaseModel):
    """Stop what runs, make a full archive, and end if the answer to it says so; else go on. An agent at work
    does not obey.
    """

    type: Literal["hibernate"] = "hibernate"


class Shutdown(BaseModel):
    """Stop working; the sandbox is about to be taken away."""

    type: Literal["shutdown"] = "shutdown"


class Prepare(BaseModel):
    """Make everything ready that does not depend on the assignment, which is not there yet. The other fields
    are what most assignments will say; see `Assign`. It has no number, and may come again.
    """

    type: Literal["prepare"] = "prepare"
    preview_url: str
    tools: list[str]
    max_turns: int


AnyItem = Prepare | Assign | Message | Interrupt | Restore | Save | Hibernate | Shutdown
InboxItem = Annotated[AnyItem, Field(discriminator="type")]

inbox_item: TypeAdapter[AnyItem] = TypeAdapter(InboxItem)
