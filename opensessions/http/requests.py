"""The bodies that callers send, checked, as the service's own values."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from opensessions import models
from opensessions.access.admission import TOKEN_SECONDS
from opensessions.access.passes import PREVIEW_SECONDS, SECONDS
from opensessions.http.agent_config import AgentConfig
from opensessions.http.fields import Fields, text_of
from opensessions.http.limits import ChangedLimits, NewLimits
from opensessions.http.views import SessionId, TemplateId
from opensessions.http.webhook_shapes import NewWebhook

LONGEST_ID = 256
LAST_VERSION = 10**12 - 1


def printable_id(value: str) -> str:
    """A caller's own id of a user. Raises ValueError."""
    if not value.isprintable():
        raise ValueError("must be printable characters")
    return value


def _user_id(value: str) -> str:
    return printable_id(text_of(value, "user_id"))


_NOT_BLANK: JsonDict = {"minLength": 1, "pattern": r"\S"}

UserId = Annotated[str, Field(max_length=LONGEST_ID, json_schema_extra=_NOT_BLANK), AfterValidator(_user_id)]
Contact = Annotated[str, StringConstraints(max_length=320)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Value = Annotated[str, StringConstraints(max_length=512)]


class Origin(Fields):
    """What a session begins with: a `template`; or a `session` of the same user, as it was after `version`,
    or else as it is kept now.
    """

    session: SessionId | None = None
    version: int | None = Field(None, ge=1, le=LAST_VERSION, examples=[1])
    template: TemplateId | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.session is None) == (self.template is None):
            raise ValueError("names either a session or a template")
        if self.version is not None and self.session is None:
            raise ValueError("has a version, which only a session has")
        return self

    def to_model(self) -> models.Origin:
        return models.Origin(session_id=self.session, version=self.version, template_id=self.template)


class NewSession(Fields):
    """What a session is made of. Names may be written in camelCase too."""

    prompt: Annotated[str, AfterValidator(lambda value: text_of(value, "prompt"))] = Field(
        description="What the agent is to do; at most 200,000 bytes of UTF-8.",
        examples=["Build a todo app with Next.js and Tailwind"],
        json_schema_extra=_NOT_BLANK,
    )
    user_id: UserId = Field(
        description="Your own id of the user whose session this is; 1 to 256 printable characters.",
        examples=["user_123"],
    )
    user_email: Contact = Field("", description="Stored as it is.", examples=["ada@example.com"])
    user_name: Contact = Field("", description="Stored as it is.", examples=["Ada"])
    agent_config: AgentConfig = Field(AgentConfig(), description="How the agent works.")
    metadata: dict[Key, Value] = Field(
        {}, max_length=16, description="Your own notes: at most 16 pairs.", examples=[{"plan": "pro"}]
    )
    limits: NewLimits = Field(NewLimits(), description="Bounds of this session.")
    webhook: NewWebhook | None = Field(
        None, description="Be told of this session alone; the answer holds the webhook's id and secret."
    )
    origin: Origin | None = Field(
        None,
        alias="from",
        description="What to begin with: a session or a template.",
    )

    def to_model(self) -> models.NewSession:
        return models.NewSession(
            prompt=self.prompt,
            user_id=self.user_id,
            user_email=self.user_email,
            user_name=self.user_name,
            config=self.agent_config.to_model(),
            metadata=self.metadata,
            limits=self.limits.to_model(),
            hook=self.webhook and models.NewHook(url=self.webhook.url, events=tuple(self.webhook.events)),
            origin=self.origin and self.origin.to_model(),
        )


class NewMessage(Fields):
    """A follow-up for the agent."""

    message: Annotated[str, AfterValidator(lambda value: text_of(value, "message"))] = Field(
        description="At most 200,000 bytes of UTF-8.",
        examples=["Make the header blue"],
        json_schema_extra=_NOT_BLANK,
    )
    user_id: UserId = Field(description="The user whose session this is.", examples=["user_123"])


class Restoration(Fields):
    """Which version to go back to."""

    version: int = Field(ge=1, le=LAST_VERSION, description="The version's number.", examples=[1])
    user_id: UserId | None = Field(None, description="When given, it must be the session's.")


class NewToken(Fields):
    """What a token shall open, and for how long."""

    scope: Literal["read", "write", "preview"] = Field(
        description="`read`: see the session, its events, versions and files. `write`: also send messages, "
        "interrupt, go back to versions and write files. `preview`: open the private preview, once."
    )
    ttl: int | None = Field(
        None,
        ge=SECONDS.start,
        le=SECONDS[-1],
        description=f"Seconds until it expires, {TOKEN_SECONDS} when left out; a preview's always has "
        f"{PREVIEW_SECONDS}.",
        examples=[TOKEN_SECONDS],
    )
    port: int = Field(3000, ge=1024, le=65535, description="Which port's preview.", examples=[3000])
    user_id: UserId | None = Field(None, description="When given, it must be the session's.")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.scope == "preview" and self.ttl is not None:
            raise ValueError(f"has a ttl, but a preview's token always has {PREVIEW_SECONDS} s")
        if self.scope != "preview" and "port" in self.model_fields_set:
            raise ValueError("has a port, which is for the scope preview alone")
        return self


class SessionChanges(Fields):
    """What to change of a session."""

    limits: ChangedLimits
    user_id: UserId | None = Field(None, description="When given, it must be the session's.")


class NewTemplate(Fields):
    """What a template is made of."""

    session: SessionId = Field(description="The session whose workspace it is.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"\S")] = Field(
        description="Your own name for it.", examples=["Next.js with Tailwind"]
    )
    user_id: UserId | None = Field(None, description="When given, it must be the session's.")


class NewModelKey(Fields):
    """A key of the model's provider."""

    key: str = Field(repr=False, json_schema_extra={"minLength": 16, "maxLength": 512, "writeOnly": True})


class Interruption(Fields):
    """Who interrupts; the body may be left out."""

    user_id: UserId | None = Field(None, description="When given, it must be the session's.")
