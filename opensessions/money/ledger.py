"""What was used and what it cost: amounts, the meters that they are added to, and the book of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from opensessions.errors import OverBudget
from opensessions.models import Model

NANO = 1_000_000_000
"""Money is counted in whole billionths of a dollar, so that sums are exact."""

REMEMBERED_SECONDS = 24 * 3600
"""For so long a call that was settled is known, and is neither reserved nor settled again."""


class Amounts(Model):
    """What was used. `cache_write_tokens` are those kept for five minutes, `cache_write_1h_tokens` for an
    hour. `nanodollars` is the models' price; of `unpriced` calls it is not known. `lost` are the calls whose
    end nobody heard: they stand with what they could have used at most, or with an estimate.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    nanodollars: int = 0
    unpriced: int = 0
    lost: int = 0
    sandbox_milliseconds: int = 0
    egress_bytes: int = 0
    stored_byte_hours: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(**{name: getattr(self, name) + getattr(other, name) for name in Amounts.model_fields})

    @property
    def tokens(self) -> int:
        """All tokens, of whatever class."""
        cached = self.cache_read_tokens + self.cache_write_tokens + self.cache_write_1h_tokens
        return self.input_tokens + self.output_tokens + cached

    @property
    def cost_usd(self) -> float | None:
        """In dollars; None when some of it has no known price."""
        return None if self.unpriced else self.nanodollars / NANO

    def shown(self) -> dict[str, Any]:
        """What models used, as sessions and their turns show it: a cost that is not known is None."""
        kept = self.cache_write_tokens + self.cache_write_1h_tokens
        own = self.model_dump(include={"calls", "input_tokens", "output_tokens", "cache_read_tokens"})
        return {**own, "cache_write_tokens": kept, "cost_usd": self.cost_usd}


@dataclass(frozen=True, slots=True)
class Meter:
    """A place where amounts are added up: a turn of a session (`turn`, from 1), a whole session, a user's day
    or month, or an account's day. `period` is "2026-11-24" or "2026-11", in UTC.
    """

    account: str
    session_id: str | None = None
    turn: int | None = None
    user_id: str | None = None
    period: str | None = None

    @property
    def monthly(self) -> bool:
        return self.period is not None and len(self.period) == len("2026-11")


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a meter may come to, with what is set aside; None: no bound."""

    nanodollars: int | None = None
    tokens: int | None = None

    def holds(self, nanodollars: int, tokens: int) -> bool:
        """Whether a meter may come to this."""
        money = self.nanodollars is None or nanodollars <= self.nanodollars
        return money and (self.tokens is None or tokens <= self.tokens)


class Allowance(Model):
    """What a user may use, or an account with all its users (which has no month); None: no bound."""

    day: Bound = Bound()
    month: Bound = Bound()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a model under way, which may use `worst` at most. `id` is unique in its session. Each of
    `meters` counts it, as far as its bound allows.
    """

    id: str
    session_id: str
    worst: Amounts
    meters: tuple[tuple[Meter, Bound], ...]
    began_at: datetime

    @property
    def lost(self) -> Amounts:
        """What it stands with when nobody hears of its end: the most that it could use."""
        return self.worst.model_copy(update={"calls": 1, "lost": 1})

    def over_budget(self, meter: Meter) -> OverBudget:
        """What is raised when it cannot be set aside on one of its meters."""
        most = f"${self.worst.nanodollars / NANO:.4f} and {self.worst.tokens:,} tokens"
        return OverBudget(f"A budget does not hold a call that may use {most}.", meter)


class Ledger(Protocol):
    """Exact sums through any crash: what one entry uses is on all of its meters or on none, once."""

    def reserve(self, call: Call) -> None:
        """Set aside what a call may use at most, on all of its meters. Again, for the same id: no change.

        Raises OverBudget with the first meter whose bound would be passed by it; nothing was set aside then.
        """
        ...

    def settle(self, session_id: str, call_id: str, used: Amounts) -> Sequence[tuple[Meter, Amounts]] | None:
        """Put what a call used in the place of what was set aside for it. Returns its meters as they stand
        after it; None when it was settled before, or is not known.
        """
        ...

    def open_calls(self, session_id: str, began_before: datetime) -> Sequence[Call]:
        """Calls of a session that were reserved before then and never settled."""
        ...

    def record(self, session_id: str, entry_id: str, meters: Sequence[Meter], amounts: Amounts) -> bool:
        """Add amounts that needed no leave, once for a session's `entry_id`. Whether this was the time."""
        ...

    def read(self, meter: Meter) -> Amounts:
        """What has been used, without what is set aside."""
        ...

    def turns(self, session_id: str) -> dict[int, Amounts]:
        """What each turn of a session used; turns that used nothing are left out."""
        ...

    def days(
        self, account: str, first: str, last: str, user_id: str | None = None
    ) -> Sequence[tuple[Meter, Amounts]]:
        """The days of an account from `first` to `last`, both included, by day and user: those of all its
        users, or of one. The sum over users is what the account used. Where nothing was used there is none.
        """
        ...

    def totals(self, account: str, first: str, last: str) -> Sequence[tuple[Meter, Amounts]]:
        """The same days of the account as a whole, in order."""
        ...

    def put_allowance(self, account: str, user_id: str | None, allowance: Allowance) -> None:
        """Set what a user may use, or (None) the account; in place of what was set before."""
        ...

    def allowance(self, account: str, user_id: str | None) -> Allowance:
        """What was set; one without bounds when nothing was."""
        ...

    def purge(self, session_id: str) -> None:
        """Forget a session's calls and meters; calls under way count as lost. What its user and its account
        used stays. Idempotent.
        """
        ...
