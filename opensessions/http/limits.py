"""What callers say of limits: of a session's, and of what a user may spend."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field
from pydantic.config import JsonDict

from opensessions import models
from opensessions.archives import WORKSPACE_BYTES
from opensessions.http.fields import Fields
from opensessions.money.budgets import nanodollars
from opensessions.money.ledger import Allowance, Bound

MOST_DOLLARS = 1_000_000
MOST_TOKENS = 10**12

_IDLE = range(60, 86_401)
_IDLE_SCHEMA: JsonDict = {
    "anyOf": [{"type": "integer", "minimum": _IDLE.start, "maximum": _IDLE[-1]}, {"const": "never"}]
}


def _idle_seconds(value: Any) -> Any:
    if value is None or value == "never" or (type(value) is int and value in _IDLE):
        return value
    raise ValueError(f'must be a whole number from {_IDLE.start} to {_IDLE[-1]:,}, or "never"')


def _described(description: str, example: Any, **more: Any) -> Any:
    return Field(None, description=description, examples=[example], **more)


class NewLimits(Fields):
    """Bounds of one session; what is left out has none, unless it says otherwise."""

    cost_usd: float | None = _described(
        "What its model calls may cost, by list prices; for models of known prices alone.",
        5.0,
        ge=0.01,
        le=MOST_DOLLARS,
    )
    tokens: int | None = _described(
        "The tokens of its model calls, of all classes together.", 2_000_000, ge=1, le=MOST_TOKENS
    )
    turns: int | None = _described("How many messages it takes, its prompt with them.", 20, ge=1, le=10**6)
    turn_seconds: int | None = _described(
        "A turn that takes longer is interrupted; the session goes on.", 900, ge=10, le=86_400
    )
    lifetime_seconds: int | None = _described(
        "So long after its creation the session is ended, whatever it does.", 86_400, ge=60, le=315_360_000
    )
    idle_seconds: Annotated[Any, BeforeValidator(_idle_seconds)] = Field(
        600,
        description="After so long without a turn, a message, a watcher or a visit the session sleeps: "
        f"{_IDLE.start} to {_IDLE[-1]:,}, or `never`.",
        examples=[600],
        json_schema_extra=_IDLE_SCHEMA,
    )
    workspace_bytes: int | None = Field(
        WORKSPACE_BYTES,
        ge=1_000_000,
        le=10_000_000_000,
        description="What the workspace may hold and still be kept.",
        examples=[WORKSPACE_BYTES],
    )
    egress_bytes: int | None = _described(
        "What its sandboxes may send and receive.", 10_000_000_000, ge=0, le=10**15
    )

    def to_model(self) -> models.Limits:
        return models.Limits(**self.given())

    def given(self) -> dict[str, Any]:
        """What was named, as the session's own values; null is what it is without being named."""
        named = {name: getattr(self, name) for name in self.model_fields_set}
        usual = models.Limits()
        values = {name: getattr(usual, name) if value is None else value for name, value in named.items()}
        return {name: None if value == "never" else value for name, value in values.items()}


class ChangedLimits(NewLimits):
    """Limits to change. What is left out stays; null takes a bound away, or puts back what holds without
    one.
    """

    nulls_count: ClassVar[bool] = True


class NewWallet(Fields):
    """What a user may spend on models in a time; what is left out has no bound."""

    cost_usd: float | None = _described("In dollars, by list prices.", 5.0, ge=0, le=MOST_DOLLARS)
    tokens: int | None = _described("Of all classes together.", 2_000_000, ge=0, le=MOST_TOKENS)

    def to_bound(self) -> Bound:
        return Bound(None if self.cost_usd is None else nanodollars(self.cost_usd), self.tokens)


class NewUserLimits(Fields):
    """What a user may spend on models, by the days and months of UTC, in all sessions together."""

    day: NewWallet = NewWallet()
    month: NewWallet = NewWallet()

    def to_model(self) -> Allowance:
        return Allowance(day=self.day.to_bound(), month=self.month.to_bound())
