"""The files of a session, of a live one and of one that sleeps or has ended:

    GET  /v1/sessions/{id}/files?path=    what is in a folder
    GET  /v1/sessions/{id}/files/{path}   a file's bytes
    PUT  /v1/sessions/{id}/files/{path}   writes a file; live sessions alone
    GET  /v1/sessions/{id}/archive        the user's files as .tar.gz

Paths are relative to the workspace. A malformed one is 400; what is no regular file (or, for the list, no
folder), what is reached by a link, and the sandbox's own folders are 404.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.callers import Callers
from gateway.file_bodies import Body, Content, Listing, Sent, attachment, later
from gateway.live_files import NOTHING, LiveFiles
from opensessions.errors import Conflict, InvalidRequest, NotFound, TooLarge
from opensessions.models import SandboxStatus, Session, Status, timestamp
from sandbox_task.workspace.paths import MOST_WRITTEN, BadPath, hidden, plain

FOLDER_PATH = "/v1/sessions/{session_id}/files"
FILE_PATH = FOLDER_PATH + "/{path:path}"
ARCHIVE_PATH = "/v1/sessions/{session_id}/archive"

BYTES = "application/octet-stream"
"""API Gateway takes all else for text, and spoils it."""
PIECE_SECONDS, WHOLE_SECONDS = 30.0, 300.0
"""How long the next piece of what is to be written, and all of it, may take."""
_TAG = re.compile(r'"([0-9a-f]{1,64})"', re.ASCII)
Names = tuple[str, ...]
Handler = Callable[[Request, Session], Awaitable[ASGIApp]]


class Source(Protocol):
    """Where files are read."""

    async def listing(self, session: Session, names: Sequence[str]) -> Listing: ...

    async def content(self, session: Session, names: Sequence[str], wanted: str, tag: str) -> Content: ...

    async def archive(self, session: Session) -> Body: ...


class Files:
    """`used` is told of each session that is written to."""

    def __init__(
        self, callers: Callers, live: LiveFiles, archived: Source, used: Callable[[str], None]
    ) -> None:
        self._callers, self._live, self._archived, self._used = callers, live, archived, used

    def routes(self) -> list[Route]:
        callers = self._callers
        return [
            Route(FOLDER_PATH, _Endpoint(callers, GET=self.list)),
            Route(FILE_PATH, _Endpoint(callers, GET=self.read, PUT=self.write)),
            Route(ARCHIVE_PATH, _Endpoint(callers, GET=self.archive)),
        ]

    async def list(self, request: Request, session: Session) -> ASGIApp:
        path = request.query_params.get("path", "")
        names = _names(path) if path else ()
        listing = await self._source(session).listing(session, names)
        data = [
            {
                "path": "/".join((*names, entry.name)),
                "kind": entry.kind,
                "size": entry.size,
                "modifiedAt": timestamp(datetime.fromtimestamp(entry.modified / 1000, UTC)),
            }
            for entry in listing.entries
        ]
        return JSONResponse({"data": data, "truncated": listing.truncated})

    async def read(self, request: Request, session: Session) -> ASGIApp:
        names = _names(_asked(request))
        wanted, tag = _range(request)
        content = await self._source(session).content(session, names, wanted, tag)
        span = content.span
        headers = attachment(names[-1]) | {
            "Content-Type": BYTES,
            "Content-Length": str(span.stop - span.start),
            "Accept-Ranges": "bytes",
        }
        if content.tag:
            headers["ETag"] = f'"{content.tag}"'
        if span.part:
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{content.size}"
        return Sent(206 if span.part else 200, headers, content.body)

    async def write(self, request: Request, session: Session) -> ASGIApp:
        names, length = _names(_asked(request)), _length(request)
        if request.headers.get("content-type") != BYTES:
            raise HTTPException(415, f"send the bytes with Content-Type: {BYTES}")
        if not session.live:
            raise Conflict(_not_now(session))
        self._source(session)
        if session.hibernating is not None:
            raise later("the session is going to sleep at this moment")
        self._used(session.id)
        await self._live.put(session, names, length, _pieces(request))
        return Response(status_code=204)

    async def archive(self, request: Request, session: Session) -> ASGIApp:
        body = await self._source(session).archive(session)
        headers = attachment(f"{session.id}.tar.gz") | {"Content-Type": "application/gzip"}
        return Sent(200, headers, body)

    def _source(self, session: Session) -> Source:
        if session.head.sandbox_status is SandboxStatus.STARTING:
            raise later("the session's sandbox is starting")
        return self._live if session.live else self._archived


class _Endpoint:
    """ASGI: the handler of the request's method, once it is known who asks for which session."""

    def __init__(self, callers: Callers, **handlers: Handler) -> None:
        self._callers, self._handlers = callers, handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        handler = self._handlers.get(request.method)
        if handler is None:
            raise HTTPException(405, headers={"Allow": ", ".join(self._handlers)})
        caller = await self._callers.caller(request, "write" if request.method == "PUT" else "read")
        session = await self._callers.session(request, caller)
        answer = await handler(request, session)
        await answer(scope, receive, send)


def _asked(request: Request) -> str:
    """The path behind `/files/`, from the bytes that were sent: what is decoded for us is decoded loosely."""
    raw: bytes = request.scope["raw_path"]
    steps = raw.split(b"/")[5:]
    if b"%2f" in raw.lower():
        raise InvalidRequest("Slashes between the parts of a path are sent as they are, not as %2F.", "path")
    try:
        return "/".join(unquote_to_bytes(step).decode() for step in steps)
    except UnicodeDecodeError:
        raise InvalidRequest("A path is UTF-8, percent-encoded.", "path") from None


def _names(path: str) -> Names:
    try:
        names = plain(path)
    except BadPath as error:
        raise InvalidRequest(str(error), "path") from None
    if hidden(names):
        raise NotFound(NOTHING)
    return names


def _range(request: Request) -> tuple[str, str]:
    """The range that is wanted, and the tag that the file must have for it; empty: any."""
    wanted, condition = request.headers.get("range", ""), request.headers.get("if-range")
    if condition is None:
        return wanted, ""
    known = _TAG.fullmatch(condition)
    return (wanted, known[1]) if known else ("", "")


def _length(request: Request) -> int | None:
    """How long the body is said to be. Raises TooLarge."""
    said = request.headers.get("content-length")
    if said is not None and int(said) > MOST_WRITTEN:
        raise TooLarge(f"A file that is written may have at most {MOST_WRITTEN:,} bytes.")
    return None if said is None else int(said)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    size, pieces = 0, request.stream()
    deadline = asyncio.get_running_loop().time() + WHOLE_SECONDS
    while True:
        try:
            async with asyncio.timeout(PIECE_SECONDS), asyncio.timeout_at(deadline):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time", {"Connection": "close"}) from None
        if piece is None:
            return
        size += len(piece)
        if size > MOST_WRITTEN:
            raise TooLarge(f"A file that is written may have at most {MOST_WRITTEN:,} bytes.")
        if piece:
            yield piece


def _not_now(session: Session) -> str:
    if session.head.sandbox_status is SandboxStatus.HIBERNATED and session.head.status is not Status.ENDED:
        return "The session sleeps: send it a message, which wakes it, and then write."
    return "The session has ended: its files can be read and downloaded, not written."
