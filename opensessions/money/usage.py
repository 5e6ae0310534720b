"""What an account used on some days: by day, by user, or by both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from opensessions.errors import InvalidRequest
from opensessions.money.ledger import Amounts, Ledger

USUAL_DAYS = 30
MOST_DAYS = 366
MOST_LINES = 10_000
"""What one answer of a function holds, with room to spare."""

Grouping = Literal["day", "user", "user_day"]


@dataclass(frozen=True, slots=True)
class Line:
    """Of a day, of a user, or of a user's day, in UTC."""

    used: Amounts
    day: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What was used on the days `first` to `last`, both included; `total` is the sum of the lines."""

    first: str
    last: str
    lines: Sequence[Line]
    total: Amounts


class Usage:
    """Thread-safe and blocking."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._ledger, self._clock = ledger, clock

    def report(
        self, account: str, first: date | None, last: date | None, user_id: str | None, by: Grouping
    ) -> Report:
        """What all users of an account used, or one. Without days: the last `USUAL_DAYS`, today included.

        By `day` there is a line for each, also where nothing was used; else only where something was, in the
        order of days and users. Raises InvalidRequest for days in the wrong order, and for too many of them
        or of lines.
        """
        begin, end = (day.isoformat() for day in self._days(first, last))
        if by == "day":
            lines = self._by_day(account, begin, end, user_id)
        else:
            found = self._ledger.days(account, begin, end, user_id)
            lines = [Line(used, meter.period, meter.user_id) for meter, used in found]
        total = _sum(lines)
        if by == "user":
            lines = _by_user(lines)
        if len(lines) > MOST_LINES:
            reason = (
                f"from {begin} to {end} there are {len(lines):,} lines; ask for fewer days, or by user_id"
            )
            raise InvalidRequest(reason, "from")
        return Report(begin, end, lines, total)

    def _days(self, first: date | None, last: date | None) -> tuple[date, date]:
        end = last or self._clock().astimezone(UTC).date()
        begin = first or date.fromordinal(max(1, end.toordinal() - USUAL_DAYS + 1))
        if begin > end:
            raise InvalidRequest(f"from is {begin}, which is after {end}, the last day", "from")
        if (end - begin).days >= MOST_DAYS:
            raise InvalidRequest(
                f"from {begin} to {end} is more than {MOST_DAYS} days; ask for fewer", "from"
            )
        return begin, end

    def _by_day(self, account: str, first: str, last: str, user_id: str | None) -> list[Line]:
        if user_id is None:
            found = self._ledger.totals(account, first, last)
        else:
            found = self._ledger.days(account, first, last, user_id)
        used = {meter.period: amounts for meter, amounts in found}
        return [Line(used.get(day, Amounts()), day) for day in _each(first, last)]


def _each(first: str, last: str) -> list[str]:
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]


def _by_user(lines: Sequence[Line]) -> list[Line]:
    used: dict[str | None, list[Line]] = {}
    for line in lines:
        used.setdefault(line.user_id, []).append(line)
    return [Line(_sum(used[user]), user_id=user) for user in sorted(used, key=str)]


def _sum(lines: Sequence[Line]) -> Amounts:
    return sum((line.used for line in lines), Amounts())
