"""The bodies that callers send, checked, as the service's own values."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic.config import JsonDict

from opensessions import models
from opensessions.http.agent_config import AgentConfig
from opensessions.http.fields import Fields, text_of

LONGEST_ID = 256


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

    def to_model(self) -> models.NewSession:
        return models.NewSession(
            prompt=self.prompt,
            user_id=self.user_id,
            user_email=self.user_email,
            user_name=self.user_name,
            config=self.agent_config.to_model(),
            metadata=self.metadata,
        )


class NewMessage(Fields):
    """A follow-up for the agent."""

    message: Annotated[str, AfterValidator(lambda value: text_of(value, "message"))] = Field(
        description="At most 200,000 bytes of UTF-8.",
        examples=["Make the header blue"],
        json_schema_extra=_NOT_BLANK,
    )
    user_id: UserId = Field(description="The user whose session this is.", examples=["user_123"])


class Interruption(Fields):
    """Who interrupts; the body may be left out."""

    user_id: UserId | None = Field(None, description="When given, it must be the session's.")
