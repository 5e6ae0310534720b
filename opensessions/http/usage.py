"""What an account and its users used, and what it cost."""

import re
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, BeforeValidator

from opensessions.http.openapi import answers
from opensessions.http.parameters import Account, Ask
from opensessions.http.reports import as_csv, as_json
from opensessions.http.requests import LONGEST_ID, printable_id
from opensessions.money.usage import MOST_DAYS, USUAL_DAYS, Grouping

router = APIRouter(redirect_slashes=False)

_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(value: str | None) -> date | None:
    if value is None:
        return None
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError("must be a day like 2026-11-24")


From = Annotated[
    date | None,
    Query(alias="from", description=f"The first day, in UTC. Left out: {USUAL_DAYS} days up to the last."),
    BeforeValidator(_day),
]
To = Annotated[
    date | None,
    Query(alias="to", description=f"The last day, in UTC; at most {MOST_DAYS} days in all. Left out: today."),
    BeforeValidator(_day),
]
OfUser = Annotated[
    str | None,
    Query(min_length=1, max_length=LONGEST_ID, description="Your own id of a user: what they used alone."),
    AfterValidator(lambda value: value if value is None else printable_id(value)),
]
GroupBy = Annotated[
    Grouping,
    Query(
        description="A line for each `day`, also where nothing was used; for each `user` who used something; "
        "or for each day of each (`user_day`)."
    ),
]
Format = Annotated[
    Literal["json", "csv"] | None,
    Query(description="Left out: what the `Accept` header asks for, `text/csv` or else JSON."),
]

_ANSWERS = answers("Report", 400, 401)
_ANSWERS["responses"][200]["content"]["text/csv"] = {"schema": {"type": "string"}}


@router.get("/v1/usage", **_ANSWERS)
def read_usage(
    request: Request,
    service: Ask,
    account: Account,
    first: From = None,
    last: To = None,
    user_id: OfUser = None,
    group_by: GroupBy = "day",
    format: Format = None,
) -> Response:
    """What was used, and what it cost: by day, by user, or by both, with the total. As CSV it has the same
    lines without the total; a `user_id` that a spreadsheet could take for a formula has a `'` before it.
    """
    report = service.metering.usage.report(account, first, last, user_id, group_by)
    vary = {"Vary": "Accept"}
    if (format or _asked(request)) == "json":
        return JSONResponse(as_json(report), headers=vary)
    name = f"usage-{report.first}-{report.last}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Response(as_csv(report, group_by), media_type="text/csv", headers=vary | headers)


def _asked(request: Request) -> Literal["json", "csv"]:
    accepted = request.headers.get("accept", "").lower()
    return "csv" if "text/csv" in accepted and "application/json" not in accepted else "json"
