"""Which bounds of money and tokens hold a session's model calls, and how much of each is used."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from opensessions.models import Session
from opensessions.money.ledger import NANO, Allowance, Amounts, Bound, Meter
from opensessions.notices import BudgetExceeded, BudgetWarning
from opensessions.sessions.draft import Draft

Kind = Literal["turn", "session", "user_day", "user_month", "account_day"]
Limit = Literal["cost_usd", "tokens"]

WARN_AT = 0.8
"""The part of a bound at which watchers are warned."""

NO_BOUND = Bound()

MET = " met"
"""After a bound's name: that its end was told, not only that it is near."""

_WORDS: dict[Kind, str] = {
    "turn": "this turn",
    "session": "this session",
    "user_day": "this user's day",
    "user_month": "this user's month",
    "account_day": "this account's day",
}


_CURES: dict[Kind, str] = {
    "turn": "end it",
    "session": "raise its limit to go on",
    "user_day": "raise it, or go on tomorrow (UTC)",
    "user_month": "raise it, or go on next month (UTC)",
    "account_day": "the operator can raise it, and it begins anew tomorrow (UTC)",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of one bound is used. Money is in nanodollars. `period` is the meter's."""

    kind: Kind
    limit: Limit
    used: int
    allowed: int
    period: str | None

    @property
    def name(self) -> str:
        """One bound of one period: what has been said of it need not be said again."""
        return f"{self.kind}.{self.limit}" + (f"@{self.period}" if self.period else "")

    @property
    def met(self) -> bool:
        return self.used >= self.allowed

    @property
    def near(self) -> bool:
        return self.used >= WARN_AT * self.allowed

    def sentence(self) -> str:
        """That it is used up, and what to do."""
        return f"The {self._what()} is used up: {_CURES[self.kind]}."

    def warning(self) -> BudgetWarning:
        share = f"{100 * self.used // max(self.allowed, 1)} %" if self.kind != "account_day" else "Most"
        return BudgetWarning(message=f"{share} of the {self._what()} is used.", **self._facts())

    def exceeded(self) -> BudgetExceeded:
        return BudgetExceeded(message=self.sentence(), **self._facts())

    def _what(self) -> str:
        what = "budget" if self.limit == "cost_usd" else "token budget"
        amount = f"${self.allowed / NANO:,.2f}" if self.limit == "cost_usd" else f"{self.allowed:,} tokens"
        shown = f" of {amount}" if self.kind != "account_day" else ""
        return f"{what}{shown} for {_WORDS[self.kind]}"

    def _facts(self) -> dict[str, Any]:
        """An account's own figures are nobody's business who watches one of its sessions."""
        facts: dict[str, Any] = {"budget": self.kind, "limit": self.limit, "period": self.period}
        if self.kind != "account_day":
            unit = NANO if self.limit == "cost_usd" else 1
            facts |= {"used": self.used / unit, "allowed": self.allowed / unit}
        return facts


def budgets(
    session: Session, user: Allowance, account: Allowance, now: datetime
) -> list[tuple[Meter, Bound]]:
    """Every meter that a call counts on now, with what holds it. The running turn has no bound of its own."""
    turn = Meter(session.account, session.id, turn=session.turns + 1)
    meters = (turn, *meters_of(session, now))
    return [(meter, bound_of(meter, session, user, account)) for meter in meters]


def meters_of(session: Session, now: datetime) -> tuple[Meter, ...]:
    """The meters of a session that count all that it uses at a time, whatever it is."""
    return (Meter(session.account, session.id), *wallets(session.account, session.user_id, now))


def wallets(account: str, user_id: str, now: datetime) -> tuple[Meter, ...]:
    """The meters of a user and of an account that count at a time."""
    return (
        Meter(account, user_id=user_id, period=day_of(now)),
        Meter(account, user_id=user_id, period=month_of(now)),
        Meter(account, period=day_of(now)),
    )


def day_of(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%d")


def month_of(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m")


def kind_of(meter: Meter) -> Kind:
    if meter.session_id is not None:
        return "session" if meter.turn is None else "turn"
    if meter.user_id is None:
        return "account_day"
    return "user_month" if meter.monthly else "user_day"


def bound_of(meter: Meter, session: Session | None, user: Allowance, account: Allowance) -> Bound:
    """What holds a meter now."""
    kind = kind_of(meter)
    if kind == "session" and session is not None:
        cost = session.limits.cost_usd
        return Bound(None if cost is None else nanodollars(cost), session.limits.tokens)
    bounds = {"user_day": user.day, "user_month": user.month, "account_day": account.day}
    return bounds.get(kind, NO_BOUND)


def standings(meter: Meter, used: Amounts, bound: Bound) -> Iterator[Standing]:
    """How much of a meter's bounds is used."""
    kind = kind_of(meter)
    if bound.nanodollars is not None:
        yield Standing(kind, "cost_usd", used.nanodollars, bound.nanodollars, meter.period)
    if bound.tokens is not None:
        yield Standing(kind, "tokens", used.tokens, bound.tokens, meter.period)


def with_room_for(worst: Amounts, bound: Bound) -> Bound:
    """The bound to reserve with: a call may begin as long as the bound is not met by what is used and set
    aside, so it is passed by one bounded answer at most; and a bound that is smaller than the worst that a
    call could cost still lets calls through.
    """
    money = None if bound.nanodollars is None else bound.nanodollars - 1 + worst.nanodollars
    tokens = None if bound.tokens is None else bound.tokens - 1 + worst.tokens
    return Bound(money, tokens)


def needs_price(bounds: Sequence[Bound]) -> bool:
    """Whether some bound is one of money, which a call of unknown cost cannot be held to."""
    return any(bound.nanodollars is not None for bound in bounds)


def smaller(one: Bound, other: Bound) -> Bound:
    """The bound that both together are."""
    return Bound(_least(one.nanodollars, other.nanodollars), _least(one.tokens, other.tokens))


def nanodollars(dollars: float) -> int:
    return round(dollars * NANO)


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def tell(draft: Draft, near: Sequence[Standing], now: datetime) -> bool:
    """Say which budgets are near their end and which are used up, each once for as long as it is what it is.
    Whether there was something to say.
    """
    periods = ("", day_of(now), month_of(now))
    told = {name: n for name, n in draft.session.told.items() if _period(name) in periods}
    begun = draft.seq
    for each in near:
        if told.get(each.name) != each.allowed:
            draft.say(each.warning(), "warning")
            told[each.name] = each.allowed
        if each.met and told.get(each.name + MET) != each.allowed:
            draft.say(each.exceeded(), "error")
            told[each.name + MET] = each.allowed
    draft.session = draft.session.model_copy(update={"told": told})
    return draft.seq > begun


def _period(name: str) -> str:
    return name.removesuffix(MET).partition("@")[2]


def forgiven(told: dict[str, int]) -> dict[str, int]:
    """What was told, without what was said of budgets that were used up and are not any more."""
    return {name: allowed for name, allowed in told.items() if not name.endswith(MET)}
