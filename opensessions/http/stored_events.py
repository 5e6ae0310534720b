"""The events as clients get them: what was said, and the service's own fields. For the OpenAPI document."""

from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, create_model

from opensessions import events, notices
from opensessions.http.views import Time

_OWN: dict[str, Any] = {
    "id": (str, Field(examples=["evt_0123456789abcdef0123456789abcdef00000001"])),
    "seq": (int, Field(ge=1, description="1, 2, 3 … in each session, without gaps.")),
    "level": (events.Level, ...),
    "createdAt": (Time, ...),
}


def payloads() -> tuple[type[events.Payload], ...]:
    """The classes of `notices.AnyEvent`."""
    sandbox, *service = get_args(notices.AnyEvent)
    return (*get_args(get_args(sandbox)[0]), *service)


def schemas(ref_template: str) -> dict[str, Any]:
    """JSON schemas: `Event`, a union told apart by `type`, and one `…Event` for each type."""
    stored = tuple(_stored(payload) for payload in payloads())
    union: Any = Annotated[stored[0], Field()]
    for cls in stored[1:]:
        union = union | cls
    schema = TypeAdapter(Annotated[union, Field(discriminator="type")]).json_schema(ref_template=ref_template)
    parts: dict[str, Any] = schema.pop("$defs")
    for part in parts.values():
        if "seq" in part.get("properties", {}):
            part["required"] = sorted({*part["required"], "type"})
    schema["description"] = "One event, told apart by `type`; more types and fields may come."
    return {**parts, "Event": schema}


def _stored(payload: type[events.Payload]) -> type[events.Payload]:
    return create_model(f"{payload.__name__}Event", __base__=payload, __doc__=payload.__doc__, **_OWN)
