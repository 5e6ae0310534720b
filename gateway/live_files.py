"""The files of a session whose sandbox runs: the sandbox itself is asked, by way of its door."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from gateway.door import Address, door
from gateway.file_bodies import Body, Broken, Content, Entry, Listing, beyond, later
from gateway.file_connection import FileConnection
from opensessions.errors import Conflict, NotFound, RateLimited, TooLarge
from opensessions.handshake import FILES_PORT
from opensessions.models import Session
from sandbox_task.workspace.paths import HIDDEN, MOST_LISTED, Span, is_plain

AT_ONCE = 8
"""Requests of one session."""
_MOST_LISTING = 4 * 2**20
_MOST_TIME = 253_402_300_799_999
_NUMBER = re.compile(r"\d{1,15}", re.ASCII)
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
_BEYOND = re.compile(r"bytes \*/(\d{1,15})", re.ASCII)
_TAG = re.compile(r'"([0-9a-f]{1,64})"', re.ASCII)
_WRONG = "the sandbox did not answer as it should"
NOTHING = "There is no such file or folder; links are not followed."
_REFUSED = {
    400: NotFound(NOTHING),
    404: NotFound(NOTHING),
    409: Conflict("There is a folder at this path: write to a path within it, or to another one."),
    413: TooLarge("That is more than a session's workspace may have: leave something out."),
    507: TooLarge("The sandbox's disk has no room for this."),
}


class _Folder(BaseModel):
    """What a sandbox says of a folder."""

    data: list[
        tuple[
            Annotated[str, Field(max_length=255)],
            Literal["file", "folder", "link"],
            Annotated[int, Field(ge=0, lt=2**53)],
            int,
        ]
    ] = Field(max_length=MOST_LISTED)
    truncated: bool


class LiveFiles:
    """`find` reads the session of a sandbox (blocking, called in a thread); `dial` and `door_key` reach its
    door. Everything raises what `FileConnection` does, and RateLimited when `AT_ONCE` requests are under way.
    """

    def __init__(
        self,
        find: Callable[[str], Session | None],
        dial: Callable[[str, int], Address],
        door_key: Callable[[str], str],
        *,
        first_seconds: float = 10.0,
        idle_seconds: float = 30.0,
    ) -> None:
        self._find, self._dial, self._door_key = find, dial, door_key
        self._first, self._idle = first_seconds, idle_seconds
        self._busy: Counter[str] = Counter()

    async def listing(self, session: Session, names: Sequence[str]) -> Listing:
        """What is in a folder. Raises NotFound."""
        with self._asking(session) as connection:
            await self._ask(connection, session, "GET", f"/folder/{_quoted(names)}", {})
            raw = await _whole(connection)
        try:
            said = _Folder.model_validate_json(raw, strict=False)
        except ValidationError:
            raise later(_WRONG) from None
        entries = {name: (kind, size, when) for name, kind, size, when in said.data if _shown(names, name)}
        made = [
            Entry(name, kind, size, min(max(when, 0), _MOST_TIME))
            for name, (kind, size, when) in sorted(entries.items())
        ]
        return Listing(made, said.truncated)

    async def content(self, session: Session, names: Sequence[str], wanted: str, tag: str) -> Content:
        """A file, or of it what a `Range` wants, if the tag is the file's or empty. Raises NotFound, and
        HTTPException (416).
        """
        headers = {"range": wanted} if wanted else {}
        if tag:
            headers["if-range"] = f'"{tag}"'
        with self._begun(session) as answer:
            connection = answer.connection
            await self._ask(connection, session, "GET", f"/file/{_quoted(names)}", headers)
            span, size = _extent(connection)
            found = _TAG.fullmatch(connection.headers.get("etag", ""))
            answer.left = span.stop - span.start
            return Content(span, size, found[1] if found else "", answer)

    async def archive(self, session: Session) -> Body:
        """A .tar.gz of the user's files."""
        with self._begun(session) as answer:
            await self._ask(answer.connection, session, "GET", "/archive", {})
            answer.most = 2 * session.limits.workspace_bytes
            return answer

    async def put(
        self, session: Session, names: Sequence[str], length: int | None, body: AsyncIterable[bytes]
    ) -> None:
        """Write a file. Raises Conflict where there is a folder, TooLarge, and NotFound beyond a link."""
        size = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        with self._asking(session) as connection:
            await self._ask(connection, session, "PUT", f"/file/{_quoted(names)}", size, body)

    @contextmanager
    def _asking(self, session: Session) -> Iterator[FileConnection]:
        if self._busy[session.id] >= AT_ONCE:
            raise RateLimited(f"{AT_ONCE} requests for this session's files are under way; wait for one.", 1)
        self._busy[session.id] += 1
        connection = FileConnection(self._first, self._idle)
        try:
            yield connection
        finally:
            connection.close()
            self._done(session.id)

    @contextmanager
    def _begun(self, session: Session) -> Iterator["_Answer"]:
        """Like `_asking`, but what goes well is open afterwards."""
        asking = self._asking(session)
        answer = _Answer(asking.__enter__(), lambda: asking.__exit__(None, None, None))
        try:
            yield answer
        except BaseException:
            answer.close()
            raise

    def _done(self, session_id: str) -> None:
        self._busy[session_id] -= 1
        if not self._busy[session_id]:
            del self._busy[session_id]

    async def _ask(
        self,
        connection: FileConnection,
        session: Session,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterable[bytes] | None = None,
    ) -> None:
        """Raises what a status other than success means."""
        sandbox_id = session.sandbox_id
        await asyncio.to_thread(self._find, sandbox_id)  # `dial` answers from what this remembers
        key = self._door_key(sandbox_id)
        await connection.open(door(lambda: self._dial(sandbox_id, FILES_PORT), key, FILES_PORT))
        await connection.ask(method, target, headers, body)
        found = _BEYOND.fullmatch(connection.headers.get("content-range", ""))
        if connection.status == 416 and found:
            raise beyond(int(found[1]))
        if connection.status in _REFUSED:
            known = _REFUSED[connection.status]
            raise type(known)(str(known))
        if connection.status not in (200, 204, 206):
            raise later(_WRONG)


class _Answer:
    """The body of a sandbox's answer: all of the `left` bytes that were announced, or at most `most`."""

    def __init__(self, connection: FileConnection, done: Callable[[], object]) -> None:
        self.connection, self._done = connection, done
        self.left: int | None = None
        self.most: int | None = None
        self._closed = False

    async def next(self) -> bytes:
        data = await self.connection.read()
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0 or (self.left and not data):
                raise Broken("the sandbox's answer is not as long as it said")
        if self.most is not None:
            self.most -= len(data)
            if self.most < 0:
                raise Broken("the sandbox's answer has no end")
        return data

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._done()


def _extent(connection: FileConnection) -> tuple[Span, int]:
    """Which bytes the answer has, and of how many. Raises HTTPException (503) when it makes no sense."""
    length = connection.headers.get("content-length", "")
    if not _NUMBER.fullmatch(length):
        raise later(_WRONG)
    if connection.status != 206:
        return Span(0, int(length), False), int(length)
    found = _RANGE.fullmatch(connection.headers.get("content-range", ""))
    first, last, size = map(int, found.groups()) if found else (0, 0, 0)
    if last >= size or last + 1 - first != int(length) or first > last:
        raise later(_WRONG)
    return Span(first, last + 1, True), size


async def _whole(connection: FileConnection) -> bytes:
    raw = bytearray()
    try:
        while data := await connection.read():
            raw += data
            if len(raw) > _MOST_LISTING:
                raise later(_WRONG)
    except Broken:
        raise later(_WRONG) from None
    return bytes(raw)


def _shown(names: Sequence[str], name: str) -> bool:
    return is_plain(name) and "/" not in name and (bool(names) or name not in HIDDEN)


def _quoted(names: Sequence[str]) -> str:
    return quote("/".join(names))
