"""The worker's own service at the door: the workspace's files over HTTP/1.1, one request a connection.

    GET /folder/<path>   {"data": [[name, kind, size, modified]], "truncated"}; kinds as in `files.Entry`
    GET /file/<path>     the bytes; `Range` and `If-Range` are kept, `ETag` is given
    PUT /file/<path>     204
    GET /archive         a .tar.gz of the user's files

Only the gateway gets here. It is told by the status alone: 400 no path, 404 nothing that may be read,
409 something is in the way, 413 too large, 416 the range, 503 busy, 507 no room.
"""

import asyncio
import errno
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

import h11

from sandbox_task.workspace.download import TOO_LARGE
from sandbox_task.workspace.files import Opened, Replacement, listing
from sandbox_task.workspace.paths import MOST_WRITTEN, BadPath, Unsatisfiable, hidden, plain, span

HEAD_SECONDS = 10.0
IDLE_SECONDS = 60.0
_CHUNK = 256 * 1024
_MOST_ARCHIVES = 2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_START = "import sys; sys.path[:] = {path!r}; from sandbox_task.workspace.download import main; main()"


class Refused(Exception):
    """What is asked for is answered with a status and nothing else."""

    def __init__(self, status: int, **fields: str) -> None:
        super().__init__(status)
        self.status, self.fields = status, fields


class FileService:
    """Serves the workspace `root`, archives of it up to `limit` bytes. `packing` counts those under way."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root, self._limit = root, limit
        self.packing = 0

    def protocol(self) -> asyncio.Protocol:
        """What takes a connection over."""
        reader = asyncio.StreamReader()
        return asyncio.StreamReaderProtocol(reader, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = _Exchange(reader, writer)
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                request = await exchange.next()
            if isinstance(request, h11.Request):
                await self._answer(exchange, request)
        except (OSError, h11.ProtocolError):  # it went away, or is no HTTP; TimeoutError is an OSError, too
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, exchange: "_Exchange", request: h11.Request) -> None:
        way, _, rest = request.target.decode("ascii").removeprefix("/").partition("/")
        try:
            match request.method, way:
                case b"GET", "folder":
                    await self._folder(exchange, _names(rest) if rest else ())
                case b"GET", "file":
                    await self._file(exchange, _names(rest), dict(request.headers))
                case b"PUT", "file":
                    await self._put(exchange, _names(rest))
                case b"GET", "archive":
                    await self._archive(exchange)
                case _:
                    raise Refused(404)
        except Refused as refused:
            await exchange.head(refused.status, content_length="0", **refused.fields)
            await exchange.end()

    async def _folder(self, exchange: "_Exchange", names: tuple[str, ...]) -> None:
        with _translated():
            found, more = await asyncio.to_thread(listing, self._root, names)
        body = json.dumps({"data": found, "truncated": more}).encode()
        await exchange.head(200, content_length=str(len(body)))
        await exchange.body(body)
        await exchange.end()

    async def _file(self, exchange: "_Exchange", names: tuple[str, ...], headers: dict[bytes, bytes]) -> None:
        with _translated():
            opened = await asyncio.to_thread(Opened, self._root, names)
        try:
            tag = f'"{opened.tag}"'
            same = headers.get(b"if-range", tag.encode()) == tag.encode()
            wanted = headers.get(b"range", b"").decode("latin-1") if same else ""
            try:
                start, stop, part = span(wanted, opened.size)
            except Unsatisfiable:
                raise Refused(416, content_range=f"bytes */{opened.size}") from None
            place = {"content_range": f"bytes {start}-{stop - 1}/{opened.size}"} if part else {}
            length = str(stop - start)
            await exchange.head(206 if part else 200, content_length=length, etag=tag, **place)
            while start < stop:
                data = await asyncio.to_thread(opened.read, start, min(_CHUNK, stop - start))
                if not data:
                    raise ConnectionError("the file was cut")
                await exchange.body(data)
                start += len(data)
            await exchange.end()
        finally:
            opened.close()

    async def _put(self, exchange: "_Exchange", names: tuple[str, ...]) -> None:
        with _translated():
            replacement = await asyncio.to_thread(Replacement, self._root, names)
        try:
            await _received(exchange, replacement)
            with _translated():
                await asyncio.to_thread(replacement.put)
        finally:
            replacement.close()
        await exchange.head(204)
        await exchange.end()

    async def _archive(self, exchange: "_Exchange") -> None:
        if self.packing == _MOST_ARCHIVES:
            raise Refused(503)
        self.packing += 1
        try:
            async with self._packing() as process:
                assert process.stdout
                data = await process.stdout.read(_CHUNK)
                if not data:
                    raise Refused(413 if await process.wait() == TOO_LARGE else 503)
                await exchange.head(200, transfer_encoding="chunked")
                while data:
                    await exchange.body(data)
                    data = await process.stdout.read(_CHUNK)
                if await process.wait() != 0:
                    raise ConnectionError("the packing failed")
                await exchange.end()
        finally:
            self.packing -= 1

    @asynccontextmanager
    async def _packing(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-X", "utf8", "-c", _START.format(path=sys.path),
            str(self._root), str(self._limit), env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()  # what is left in the pipe keeps it open


def _names(quoted: str) -> tuple[str, ...]:
    try:
        names = plain(unquote(quoted, errors="strict"))
    except (BadPath, UnicodeDecodeError):
        raise Refused(400) from None
    if hidden(names):
        raise Refused(404)
    return names


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IsADirectoryError:
        raise Refused(409) from None
    except OSError as error:
        raise Refused(507 if error.errno in _NO_ROOM else 404) from None


async def _received(exchange: "_Exchange", replacement: Replacement) -> None:
    """Take the whole body in, also of what is refused for it: who still sends does not read."""
    refused, size = None, 0
    while isinstance(event := await exchange.next(), h11.Data):
        size += len(event.data)
        if size > MOST_WRITTEN:
            raise Refused(413)
        try:
            if not refused:
                with _translated():
                    await asyncio.to_thread(replacement.write, event.data)
        except Refused as error:
            refused = error
    if not isinstance(event, h11.EndOfMessage):
        raise ConnectionError("the body was cut")
    if refused:
        raise refused


class _Exchange:
    """One request and its answer. Raises TimeoutError when nothing moves, and h11.ProtocolError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER)

    async def next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(IDLE_SECONDS):
                self._http.receive_data(await self._reader.read(_CHUNK))
        return event

    async def head(self, status: int, **fields: str) -> None:
        headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
        await self._send(h11.Response(status_code=status, headers=[*headers, ("connection", "close")]))

    async def body(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._writer.write(data)
            async with asyncio.timeout(IDLE_SECONDS):
                await self._writer.drain()
