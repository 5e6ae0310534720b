"""Who did what in an account."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator

from opensessions.http.audit_shapes import shown
from opensessions.http.openapi import answers
from opensessions.http.parameters import Admin, Ask, Cursor

router = APIRouter(redirect_slashes=False)


def _moment(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a day like 2026-11-24, or a time like 2026-11-24T06:30:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Since = Annotated[
    datetime | None,
    Query(alias="from", description="A day or a time; it is included. Left out: all there is."),
    BeforeValidator(_moment),
]
Until = Annotated[
    datetime | None,
    Query(alias="to", description="A day or a time; it is not included. Left out: now."),
    BeforeValidator(_moment),
]
Count = Annotated[int, Query(ge=1, le=500, description="How many at most.")]


@router.get("/v1/audit", **answers("AuditPage", 400, 401))
def read_audit(
    service: Ask,
    account: Admin,
    since: Since = None,
    until: Until = None,
    limit: Count = 100,
    cursor: Cursor = None,
) -> JSONResponse:
    """Who did what, newest first: changes of sessions and of the account, tokens, what tokens read, and what
    was refused. It is kept for a year, also of sessions that were purged, and holds nothing of what was said.
    """
    record = service.admission.recording.page(account, since, until, limit, cursor)
    data, more = [shown(entry) for entry in record.entries], record.cursor is not None
    return JSONResponse({"data": data, "has_more": more, "next_cursor": record.cursor})
