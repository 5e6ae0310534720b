"""What callers get back, field by field and in this order. The OpenAPI document is made from it."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

from opensessions import models
from opensessions.events import Artifact, Level
from opensessions.http.event_lines import line
from opensessions.money.ledger import NANO, Allowance, Amounts, Bound

SESSION_ID = r"^session_[0-9a-f]{32}$"
TEMPLATE_ID = r"^tpl_[0-9a-f]{32}$"
_SESSION_ID = re.compile(SESSION_ID.strip("^$"))
_TEMPLATE_ID = re.compile(TEMPLATE_ID.strip("^$"))
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"

SessionId = Annotated[str, Field(pattern=SESSION_ID, examples=["session_0123456789abcdef0123456789abcdef"])]
TemplateId = Annotated[str, Field(pattern=TEMPLATE_ID, examples=["tpl_0123456789abcdef0123456789abcdef"])]
Time = Annotated[
    str,
    Field(pattern=TIME, description="ISO 8601, UTC, milliseconds.", examples=["2026-11-24T12:00:00.000Z"]),
]


def is_session_id(text: str) -> bool:
    """Whether a text can be the id of a session at all."""
    return _SESSION_ID.fullmatch(text) is not None


def is_template_id(text: str) -> bool:
    """Whether a text can be the id of a template at all."""
    return _TEMPLATE_ID.fullmatch(text) is not None


NOTHING_USED = Amounts()

INERT = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
"""Headers of answers whose text a sandbox wrote: no browser is to take it for a page of ours."""


class View(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, use_enum_values=True
    )

    def json_object(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True)


class Project(View):
    """What is being built: guessed from the prompt first, then taken from what is there."""

    title: str = Field(examples=["Build a todo app"])
    framework: str | None = Field(examples=["nextjs"])
    artifacts: list[Artifact]


class Message(View):
    """Something that the user or the agent said."""

    id: str = Field(examples=["msg_0123456789abcdef0123456789abcdef"])
    role: Literal["user", "assistant"]
    content: str = Field(examples=["Build a todo app with Next.js and Tailwind"])
    created_at: Time


class EventLine(View):
    """An event in one line; the events themselves are at `/events` and `/events/page`."""

    id: str = Field(examples=["evt_0123456789abcdef00000001"])
    type: str = Field(examples=["session_started"])
    level: Level
    message: str = Field(examples=["Bootstrapping sandbox..."])
    created_at: Time


class Limits(View):
    """The session's bounds; null: none."""

    cost_usd: float | None = Field(examples=[5.0])
    tokens: int | None = Field(examples=[None])
    turns: int | None = Field(examples=[None])
    turn_seconds: int | None = Field(examples=[None])
    lifetime_seconds: int | None = Field(examples=[None])
    idle_seconds: int | Literal["never"] = Field(examples=[600])
    workspace_bytes: int = Field(examples=[2_000_000_000])
    egress_bytes: int | None = Field(examples=[None])


class Usage(View):
    """What the session has used until now: its model calls, with their cost in dollars (null: not known), the
    time of the sandboxes that ended, and the bytes that they sent and received.
    """

    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float | None
    sandbox_seconds: float
    egress_bytes: int


class Wallet(View):
    """What a user may spend on models in a time; null: any sum."""

    cost_usd: float | None
    tokens: int | None


class UserLimits(View):
    """What a user may spend on models, by the days and months of UTC, in all sessions together."""

    user_id: str
    day: Wallet
    month: Wallet


class Session(View):
    """A session. `messages` and `events` are the newest of each, oldest first: at most 100 each,
    and 512 KiB of messages.
    """

    id: SessionId
    status: models.Status = Field(
        description="running (working, or a message waits) → ready → running …; error: a further message "
        "runs it again; ended: for good."
    )
    sandbox_id: str = Field(examples=["sb-0123456789abcdef0123456789abcdef"])
    preview_url: str = Field(
        description="Where port 3000 of the sandbox is; other ports: the number after `-p`.",
        examples=["https://sb-0123456789abcdef0123456789abcdef-p3000.preview.example.com"],
    )
    project: Project
    messages: list[Message]
    events: list[EventLine]
    user_id: str = Field(examples=["user_123"])
    created_at: Time
    updated_at: Time
    sandbox_status: models.SandboxStatus
    usage: Usage
    limits: Limits
    metadata: dict[str, str] = Field(examples=[{"plan": "pro"}])
    last_seq: int = Field(ge=0, description="The number of the newest event.", examples=[2])
    version: int = Field(ge=0, description="The version that the workspace is at; 0: none yet.", examples=[0])
    preview: models.Preview = Field(description="Who sees the previews: anybody, or who was given a token.")


class Token(BaseModel):
    """A token for one session. `events_url` is what a browser's EventSource takes."""

    token: str = Field(pattern="^oss_", examples=[f"oss_{'0' * 32}_{'0' * 64}"])
    scope: Literal["read", "write"]
    expires_at: Time
    events_url: str


class PreviewAddress(BaseModel):
    """Where a private preview opens, once and until then; what it sets is a cookie."""

    url: str
    expires_at: Time


class NewlyIssued(RootModel[Token | PreviewAddress]):
    """A token; with the scope `preview`, an address."""


class Ended(View):
    """A session that is over; its sandbox is gone."""

    id: SessionId
    status: Literal["ended"] = "ended"


class Purged(Ended):
    """A session that is over, and of which nothing is left."""

    purged: Literal[True] = True


class Change(View):
    path: str = Field(examples=["app/index.html"])
    change: Literal["added", "modified", "deleted"]


class Version(View):
    """The state after a turn. `files` are at most 100 of the `filesChanged`; a cost that is not known is
    null.
    """

    number: int = Field(ge=1, examples=[1])
    parent: int = Field(ge=0, description="The version that the turn began with; 0: none.", examples=[0])
    current: bool = Field(description="The workspace is at this version, or was before the running turn.")
    title: str = Field(examples=["Build a todo app"])
    message_id: str | None = Field(examples=["msg_0123456789abcdef0123456789abcdef"])
    files_changed: int = Field(ge=0, examples=[1])
    files: list[Change]
    cost_usd: float | None = Field(examples=[None])
    created_at: Time


class Template(View):
    """A prepared workspace."""

    id: TemplateId
    name: str = Field(examples=["Next.js with Tailwind"])
    status: models.TemplateStatus
    session: SessionId = Field(description="The session that it was made of.")
    files: int | None = Field(examples=[12_000])
    bytes: int | None = Field(examples=[250_000_000])
    created_at: Time


class ModelKey(View):
    """Whether an account has a model key of its own."""

    set: bool
    since: Time | None


class Health(View):
    status: Literal["ok"] = "ok"


def session(
    value: models.Session,
    preview_url: str,
    messages: Sequence[models.Message] = (),
    events: Sequence[models.Event] = (),
    used: Amounts = NOTHING_USED,
) -> dict[str, Any]:
    """The session object."""
    return Session(
        id=value.id,
        status=value.head.status,
        sandbox_id=value.sandbox_id,
        preview_url=preview_url,
        project=_project(value),
        messages=[_message(message) for message in messages],
        events=[_event(event) for event in events],
        user_id=value.user_id,
        created_at=models.timestamp(value.created_at),
        updated_at=models.timestamp(value.head.updated_at),
        sandbox_status=value.head.sandbox_status,
        usage=_usage(used),
        limits=_limits(value.limits),
        metadata=value.metadata,
        last_seq=value.head.last_seq,
        version=value.version,
        preview=value.preview,
    ).json_object()


def version(value: models.Version, current: int, turns: Mapping[int, Amounts]) -> dict[str, Any]:
    """A version; `current` is the number of the one that the workspace is at, `turns` what each used."""
    return Version(
        number=value.number,
        parent=value.parent,
        current=value.number == current,
        title=value.title,
        message_id=value.message_id,
        files_changed=value.changed,
        files=[Change(path=each.path, change=each.change) for each in value.files],
        cost_usd=None if value.turn is None else turns.get(value.turn, NOTHING_USED).cost_usd,
        created_at=models.timestamp(value.created_at),
    ).json_object()


def template(value: models.Template) -> dict[str, Any]:
    """A template."""
    return Template(
        id=value.id,
        name=value.name,
        status=value.status,
        session=value.session_id,
        files=value.archive.files if value.archive else None,
        bytes=value.archive.bytes if value.archive else None,
        created_at=models.timestamp(value.created_at),
    ).json_object()


def user_limits(user_id: str, allowance: Allowance) -> dict[str, Any]:
    """What a user may spend."""
    day, month = _wallet(allowance.day), _wallet(allowance.month)
    return UserLimits(user_id=user_id, day=day, month=month).json_object()


LEFT_OUT = frozenset({"messages", "events", "usage"})
"""What the sessions of a list go without."""


def listed(value: models.Session, preview_url: str) -> dict[str, Any]:
    """The session object as lists have it: without its messages, events and usage."""
    whole = session(value, preview_url)
    return {name: member for name, member in whole.items() if name not in LEFT_OUT}


def _limits(value: models.Limits) -> Limits:
    idle = "never" if value.idle_seconds is None else value.idle_seconds
    return Limits(**{**value.model_dump(), "idle_seconds": idle})


def _usage(used: Amounts) -> Usage:
    return Usage(
        **used.shown(),
        sandbox_seconds=used.sandbox_milliseconds / 1000,
        egress_bytes=used.egress_bytes,
    )


def _wallet(bound: Bound) -> Wallet:
    cost = None if bound.nanodollars is None else bound.nanodollars / NANO
    return Wallet(cost_usd=cost, tokens=bound.tokens)


def _project(value: models.Session) -> Project:
    return Project(title=value.title, framework=value.framework, artifacts=list(value.artifacts))


def _message(value: models.Message) -> Message:
    created_at = models.timestamp(value.created_at)
    return Message(id=value.id, role=value.role, content=value.content, created_at=created_at)


def _event(value: models.Event) -> EventLine:
    return EventLine(
        id=value.id,
        type=value.type,
        level=value.level,
        message=line(value.type, value.payload),
        created_at=value.created_at,
    )
