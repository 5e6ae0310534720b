"""How usage is shown: as JSON, and as CSV for spreadsheets and billing."""

import csv
import io
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from opensessions.money import usage
from opensessions.money.ledger import Amounts

_FORMULA = tuple("=+-@＝＋－＠'\t\r\n")  # noqa: RUF001


class Used(BaseModel):
    """What was used. All kinds of tokens are counted apart; `input_tokens` are those that no cache held. The
    cost is what the models cost by their list prices; it is null when some of it has none.
    """

    calls: int = Field(description="Calls of models.")
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int = Field(description="Kept for five minutes.")
    cache_write_1h_tokens: int = Field(description="Kept for an hour.")
    cost_usd: float | None
    unpriced_calls: int = Field(description="Calls of models whose price is not known.")
    estimated_calls: int = Field(
        description="Calls that broke off: their tokens are an estimate, or the most that they could be."
    )
    sandbox_seconds: float
    egress_bytes: int = Field(description="Between sandboxes and the internet, both ways.")
    stored_byte_hours: int = Field(description="What was kept of sessions, by its bytes and hours.")

    @classmethod
    def of(cls, used: Amounts, **group: Any) -> Self:
        return cls(
            **group,
            **used.model_dump(include={*cls.model_fields} & {*Amounts.model_fields}),
            cost_usd=used.cost_usd,
            unpriced_calls=used.unpriced,
            estimated_calls=used.lost,
            sandbox_seconds=used.sandbox_milliseconds / 1000,
        )


class Line(Used):
    """What was used on a day, by a user, or by a user on a day."""

    model_config = ConfigDict(json_schema_extra={"required": [*Used.model_fields]})

    day: str | None = Field(None, json_schema_extra={"format": "date"}, description="In UTC.")
    user_id: str | None = None


class Report(BaseModel):
    """What was used on the days `from` to `to`, both included. `total` is the exact sum of the lines."""

    first: str = Field(serialization_alias="from", json_schema_extra={"format": "date"})
    last: str = Field(serialization_alias="to", json_schema_extra={"format": "date"})
    data: list[Line]
    total: Used


def as_json(report: usage.Report) -> dict[str, Any]:
    lines = [Line.of(line.used, **_group(line)) for line in report.lines]
    shown = Report(first=report.first, last=report.last, data=lines, total=Used.of(report.total))
    return shown.model_dump(by_alias=True, exclude_unset=True)


def as_csv(report: usage.Report, by: usage.Grouping) -> str:
    """A line of names, and one for each line of the report. A cost that is not known is empty."""
    groups = {"day": ["day"], "user": ["user_id"], "user_day": ["day", "user_id"]}[by]
    text = io.StringIO()
    rows = csv.DictWriter(text, [*groups, *Used.model_fields])
    rows.writeheader()
    for line in report.lines:
        group = {name: _cell(value) for name, value in _group(line).items()}
        rows.writerow(group | Used.of(line.used).model_dump())
    return text.getvalue()


def _group(line: usage.Line) -> dict[str, str]:
    parts = {"day": line.day, "user_id": line.user_id}
    return {name: value for name, value in parts.items() if value is not None}


def _cell(value: str) -> str:
    """No spreadsheet takes it for a formula: a `'` before it says that it is text."""
    return f"'{value}" if value.startswith(_FORMULA) else value
