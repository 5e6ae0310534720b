"""What all request bodies have in common: two spellings of a name, no unknown ones, errors for people."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from opensessions.errors import InvalidRequest
from opensessions.http.errors import FieldTooLarge
from opensessions.http.findings import path, sentence

LARGEST_TEXT = 200_000


class Fields(BaseModel):
    """A JSON object of a request. Names come in snake_case or camelCase; null is the same as absent, unless
    `nulls_count`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    nulls_count: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        spelled = {to_camel(name): name for name in cls.model_fields}
        result: dict[str, Any] = {}
        for given, member in value.items():
            name = spelled.get(given) or given
            if name in result:
                raise ValueError(f"has {name} in two spellings")
            if member is not None or cls.nulls_count or name not in cls.model_fields:
                result[name] = member
        return result

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        """The object, checked. Raises InvalidRequest naming the field with its path, and TooLarge."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidRequest:
    """The first of pydantic's findings, or all unknown fields, as an error for the caller."""
    details = error.errors(include_url=False, include_input=False)
    unknown = [path(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]
    if unknown:
        names = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
        return InvalidRequest(f"Unknown field{'s' if len(unknown) > 1 else ''}: {names}", unknown[0])
    field = path(details[0]["loc"])
    return InvalidRequest(sentence(details[0], field), field or None)


def text_of(value: str, field: str) -> str:
    """`value`, if it is not blank and within 200,000 bytes of UTF-8. Raises InvalidRequest and TooLarge."""
    if not value.strip():
        raise InvalidRequest(f"{field} is required", field)
    return bounded(value, field)


def bounded(value: str, field: str, bytes_: int = LARGEST_TEXT) -> str:
    """`value`, if it is within a number of bytes of UTF-8. Raises TooLarge."""
    if len(value) > bytes_ or len(value.encode()) > bytes_:
        raise FieldTooLarge(f"{field} is larger than {bytes_:,} bytes.", field)
    return value
