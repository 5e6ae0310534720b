"""`/sandbox/v1/archives`: a sandbox's archives on their way to the blob store and back.

The wire is told in `opensessions.archives`. Where the blob store has addresses of its own, the bytes go there
by the egress proxy; where it has none, they come here.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread
import httpx2
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.archive_bounds import Account, Accounts
from gateway.relay import Identify
from gateway.verdicts import Verdicts, passed_on
from opensessions.archives import LISTING, Kept, Part
from opensessions.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from opensessions.http.bodies import LARGEST_ARCHIVED, read_body, read_json
from opensessions.http.credentials import bearer
from opensessions.http.fields import invalid
from opensessions.http.strict_json import parse, parse_mended
from opensessions.models import Session
from opensessions.ports import BlobStore
from opensessions.sessions.keeping import place

PATH = "/sandbox/v1/archives/{archive_id}"
PART_PATH = f"{PATH}/parts/{{number}}"
CALLBACK_PATH = "/callback/v1/archives"

CALLBACK_SECONDS = 20.0

_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")
_SIZE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A part that a sandbox asks about: whose, and which."""

    session: Session
    account: Account
    archive_id: str
    number: int

    @property
    def key(self) -> str:
        return f"{place(self.session.id, self.archive_id)}/{self.number}"

    @property
    def kept(self) -> bool:
        """Whether the part is of an archive that its session comes back from."""
        return any(archive.id == self.archive_id for archive in self.session.archives)


class Archives:
    """The routes, all with the worker's token as Bearer. Unknown tokens are 401, what is over a bound is 413,
    and what is to wait 429 with `Retry-After`.

    `identify` and `blobs` block and are called in threads. A sandbox stores one archive at a time: a newer
    one takes the place of one that was not finished, whose parts are deleted if they are here. It reads what
    its session has kept, and nothing else. `wake` is told the session of each archive that became durable.
    """

    def __init__(
        self,
        identify: Identify,
        blobs: BlobStore,
        callback: httpx2.AsyncClient,
        wake: Callable[[str], None],
        *,
        body_seconds: float = 60.0,
    ) -> None:
        self._identify, self._blobs, self._wake = identify, blobs, wake
        self._body_seconds = body_seconds
        later = "archives cannot be kept at the moment, send this again"
        self._verdicts = Verdicts(callback, CALLBACK_SECONDS, later)
        self._accounts = Accounts()

    def routes(self) -> list[Route]:
        return [
            Route(PART_PATH, self.begin_part, methods=["POST"]),
            Route(PART_PATH, self.put_part, methods=["PUT"]),
            Route(PART_PATH, self.get_part, methods=["GET"]),
            Route(PATH, self.keep, methods=["POST"]),
        ]

    async def begin_part(self, request: Request) -> Response:
        """Where a part is to be PUT: `{"url"}`."""
        asked = await self._asked(request)
        part = _part(parse(await read_body(request)))
        _refuse_kept(asked)
        url = await self._upload_url(asked, part)
        if url is None:
            return JSONResponse({"url": f"{request.url.path}?size={part.size}&sha256={part.sha256}"})
        # What was stored of an older one is not the gateway's to delete: `Keeper.tidy` does it.
        asked.account.declare(asked.archive_id, asked.number, part.size)
        return JSONResponse({"url": url})

    async def put_part(self, request: Request) -> Response:
        """Store a part; 204. The size and the SHA-256 in the query must be the body's."""
        asked, part = await self._asked(request), _part(_announced(request))
        _refuse_kept(asked)
        if await self._upload_url(asked, part) is not None:
            raise Conflict("Parts are not stored here: ask where to put this one.")
        if request.headers.get("content-length") != str(part.size):
            raise InvalidRequest("Content-Length must be there, and the size in the query.", "size")
        with asked.account.transfer("up"):
            older = asked.account.declare(asked.archive_id, asked.number, part.size)
            if older is not None:
                await anyio.to_thread.run_sync(self._blobs.delete, place(asked.session.id, older))
            try:
                await self._store(asked, part, await self._in_time(request.body()))
            except BaseException:
                asked.account.withdraw(part.size)
                raise
        return Response(status_code=204)

    async def get_part(self, request: Request) -> Response:
        """The bytes of a part, or a 307 to them."""
        asked = await self._asked(request)
        if not asked.kept:
            raise NotFound("The session has no such archive.")
        url = await anyio.to_thread.run_sync(self._blobs.download_url, asked.key)
        if url is not None:
            return Response(status_code=307, headers={"Location": url, "Cache-Control": "no-store"})
        with asked.account.transfer("down"):
            data = await anyio.to_thread.run_sync(self._blobs.get, asked.key)
        if data is None:
            raise NotFound("The archive has no such part.")
        return Response(data, media_type="application/octet-stream")

    async def keep(self, request: Request) -> Response:
        """An archive is complete: what the callback says to that is the answer."""
        token = bearer(request.headers) or ""
        session = await self._session(token)
        account, archive_id = self._accounts.of(session), _archive_id(request)
        account.ask()
        raw = await self._in_time(read_json(request, LARGEST_ARCHIVED))
        said = await anyio.to_thread.run_sync(parse_mended, raw)
        body = json.dumps({"id": archive_id, "archive": said}).encode()
        account.claim(archive_id)
        answer = await self._verdicts.ask(CALLBACK_PATH, token, body)
        if not answer.is_success:
            account.disclaim(archive_id)
            return passed_on(answer)
        try:
            kept = Kept.model_validate_json(answer.content)
        except ValidationError:
            raise self._verdicts.fault(f"answered {answer.status_code} and no Kept") from None
        account.finish(archive_id)
        self._wake(session.id)
        return JSONResponse(kept.model_dump())

    async def _session(self, token: str) -> Session:
        session = await anyio.to_thread.run_sync(self._identify, token, "worker")
        if session is None:
            raise Unauthorized("The sandbox's token is not known (any more).")
        return session

    async def _asked(self, request: Request) -> Asked:
        session = await self._session(bearer(request.headers) or "")
        account = self._accounts.of(session)
        account.ask()
        number: str = request.path_params["number"]
        if not _NUMBER.fullmatch(number) or int(number) > LISTING:
            raise NotFound(f"Parts are numbered from 0 to {LISTING}.")
        return Asked(session, account, _archive_id(request), int(number))

    async def _upload_url(self, asked: Asked, part: Part) -> str | None:
        find = partial(self._blobs.upload_url, asked.key, part.size, part.sha256)
        return await anyio.to_thread.run_sync(find)

    async def _in_time(self, reading: Coroutine[Any, Any, bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._body_seconds):
                return await reading
        except TimeoutError:
            detail = f"the body did not arrive within {self._body_seconds:g} s"
            raise HTTPException(408, detail, {"Connection": "close"}) from None

    async def _store(self, asked: Asked, part: Part, body: bytes) -> None:
        def store() -> None:
            if len(body) != part.size or hashlib.sha256(body).hexdigest() != part.sha256:
                raise InvalidRequest("The body is not what was announced: its size or SHA-256 differs.")
            self._blobs.put(asked.key, body)

        if not asked.account.wants(asked.archive_id):
            raise Conflict("A newer archive has taken this one's place.")
        await anyio.to_thread.run_sync(store)


def _refuse_kept(asked: Asked) -> None:
    if asked.kept:
        raise Conflict("This archive is kept already, and stays as it is.")


def _archive_id(request: Request) -> str:
    archive_id: str = request.path_params["archive_id"]
    if not _ID.fullmatch(archive_id):
        raise NotFound("An archive's id is 32 hex digits.")
    return archive_id


def _announced(request: Request) -> dict[str, object]:
    query = request.query_params
    size = query.get("size", "")
    return {"size": int(size) if _SIZE.fullmatch(size) else None, "sha256": query.get("sha256")}


def _part(value: dict[str, object]) -> Part:
    try:
        return Part.model_validate(value)
    except ValidationError as error:
        raise invalid(error) from None
