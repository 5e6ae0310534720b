"""The callback: what the gateway relays from sandboxes, and what it saw itself. Only the gateway calls it."""

from typing import Annotated, TypeVar, cast

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from opensessions.access.audit import Entry
from opensessions.archives import Archived, ArchiveId
from opensessions.errors import Unauthorized
from opensessions.events import EventBatch
from opensessions.http import calls, errors
from opensessions.http.bodies import LARGEST_ARCHIVED, Body, read_json
from opensessions.http.credentials import bearer
from opensessions.http.faults import Faults
from opensessions.http.fields import Fields, invalid
from opensessions.http.request_ids import RequestIds
from opensessions.http.strict_json import parse, parse_mended
from opensessions.http.views import SessionId
from opensessions.logbook import concerns
from opensessions.sessions.testimony import Testimony

M = TypeVar("M", bound=BaseModel)

router = APIRouter(redirect_slashes=False)


class Notice(Fields):
    """A warning for a session's watchers, such as a host that was refused."""

    session_id: SessionId
    message: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    code: str = Field(min_length=1, max_length=64)


class Booting(Fields):
    """Where the gateway saw the sandbox that shows its ticket, an IP address; and the nonce that it shows."""

    address: Annotated[str, StringConstraints(min_length=2, max_length=45)]
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class Archive(BaseModel):
    """An archive that a sandbox has made, under the id that it chose."""

    id: ArchiveId
    archive: Archived


class Wish(Fields):
    """Which session somebody visits that sleeps."""

    session_id: SessionId


class Visit(Fields):
    """The token that a visitor of a private preview showed."""

    token: str = Field(min_length=1, max_length=200)


class Sightings(BaseModel):
    """Entries for the record, and keys, of callers whom the gateway answered."""

    entries: list[Entry] = Field(max_length=100)
    keys: list[str] = Field(max_length=100)


class Uses(Fields):
    """Which sessions somebody watches or visits."""

    session_ids: list[SessionId] = Field(min_length=1, max_length=100)


def create_app(testimony: Testimony) -> FastAPI:
    """The callback as an ASGI app. Who may call it at all is for its host to see to."""
    app = FastAPI(title="opensessions callback", openapi_url=None, redirect_slashes=False)
    app.state.testimony = testimony
    for part in (router, calls.router):
        app.include_router(part)
    errors.install(app)
    for middleware in (Faults, RequestIds):  # the last one is the outermost
        app.add_middleware(middleware)
    return app


async def _testimony(request: Request) -> Testimony:
    return cast(Testimony, request.app.state.testimony)


async def _token(request: Request) -> str:
    token = bearer(request.headers)
    if token is None:
        raise Unauthorized("The sandbox's token is missing.")
    return token


async def _about_archive(request: Request) -> bytes:
    return await read_json(request, LARGEST_ARCHIVED)


Ask = Annotated[Testimony, Depends(_testimony)]
Token = Annotated[str, Depends(_token)]


@router.post("/callback/v1/events")
def record_events(testimony: Ask, token: Token, raw: Body) -> JSONResponse:
    """Store a batch. Sent again it changes nothing; a gap is a 409 with the number that is `expected`."""
    recorded = testimony.record_events(token, _checked(EventBatch, raw))
    ack = recorded.ack.model_dump()
    return JSONResponse({**ack, "session_id": recorded.session_id, "last_seq": recorded.last_seq})


@router.post("/callback/v1/archives")
def keep_archive(
    testimony: Ask, token: Token, raw: Annotated[bytes, Depends(_about_archive)]
) -> JSONResponse:
    """Keep an archive whose parts are all there. Sent again it is answered the same and changes nothing."""
    said = _checked(Archive, raw)
    return JSONResponse(testimony.archived(token, said.id, said.archive).model_dump())


@router.post("/callback/v1/boot")
def boot(testimony: Ask, ticket: Token, raw: Body) -> JSONResponse:
    """Swap the boot ticket that a sandbox showed at this address for its worker's token, for one nonce."""
    booting = Booting.read(parse(raw))
    return JSONResponse({"token": testimony.boot(ticket, booting.address, booting.nonce)})


@router.post("/callback/v1/notices")
def record_notice(testimony: Ask, raw: Body) -> Response:
    """Tell a session's watchers something. A session that ended, or is unknown, stays as it is."""
    notice = Notice.read(parse(raw))
    concerns(notice.session_id)
    testimony.notice(notice.session_id, notice.message, notice.code)
    return Response(status_code=204)


@router.post("/callback/v1/wakes")
def wake(testimony: Ask, raw: Body) -> Response:
    """Somebody visits a session that sleeps: it is woken. Any other stays as it is."""
    wish = Wish.read(parse(raw))
    concerns(wish.session_id)
    testimony.wanted(wish.session_id)
    return Response(status_code=204)


@router.post("/callback/v1/visits")
def admit_visitor(testimony: Ask, raw: Body) -> JSONResponse:
    """What a private preview's token opens, of how many revocations; it is used up. 401: nothing."""
    kept = testimony.admission.redeem(Visit.read(parse(raw)).token)
    return JSONResponse({"port": kept.port, "number": kept.number})


@router.post("/callback/v1/sightings")
def note_sightings(testimony: Ask, raw: Annotated[bytes, Depends(_about_archive)]) -> Response:
    """What the gateway saw of callers, for the record, and the SHA-256 of keys that are used. Sent again it
    changes nothing.
    """
    said = _checked(Sightings, raw)
    for entry in said.entries:
        testimony.admission.recording.add(entry)
    for key_hash in said.keys:
        testimony.admission.recording.used(key_hash)
    return Response(status_code=204)


@router.post("/callback/v1/uses")
def note_uses(testimony: Ask, raw: Body) -> Response:
    """These sessions are in use just now, and must not fall asleep. Unknown ones are passed over."""
    testimony.used(Uses.read(parse(raw)).session_ids)
    return Response(status_code=204)


def _checked(model: type[M], raw: bytes) -> M:
    """What a sandbox said. Raises InvalidRequest."""
    try:
        return model.model_validate(parse_mended(raw))
    except ValidationError as error:
        raise invalid(error) from None
