"""One request to a sandbox's files, over its door. The sandbox is hostile: what it answers may be anything.

`sandbox_task.workspace.file_service` tells what it should answer.
"""

import asyncio
from collections.abc import AsyncIterable, Mapping
from typing import cast

import h11

from gateway.dataplane.routes import Connect, ConnectRefused
from gateway.file_bodies import Broken, later

_READ = 64 * 1024
_MOST_HEAD = 16 * 1024


class FileConnection:
    """A connection for one request; close it. `status` and `headers` (by lower-case names) are the answer's.

    Raises HTTPException (503) until there is an answer, Broken afterwards.
    """

    def __init__(self, first_seconds: float, idle_seconds: float) -> None:
        self._first, self._idle = first_seconds, idle_seconds
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD)
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self.status, self.headers = 0, dict[str, str]()

    async def open(self, connect: Connect) -> None:
        """Reach the sandbox."""
        protocol = asyncio.StreamReaderProtocol(self._reader)
        try:
            async with asyncio.timeout(self._first):
                made = await connect(lambda: protocol)
        except (OSError, ConnectRefused):  # TimeoutError is an OSError
            raise later("the sandbox cannot be reached at the moment") from None
        transport = cast(asyncio.WriteTransport, made)
        loop = asyncio.get_running_loop()
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterable[bytes] | None = None,
    ) -> None:
        """Send a request and wait for the head of its answer."""
        fields = [("host", "files"), *headers.items()]
        try:
            await self._send(h11.Request(method=method, target=target, headers=fields))
            if body is not None:
                async for data in body:
                    await self._send(h11.Data(data=data))
            await self._send(h11.EndOfMessage())
            async with asyncio.timeout(self._first):
                await self._answered()
        except (OSError, h11.ProtocolError):
            raise later("the sandbox gave no answer") from None

    async def read(self) -> bytes:
        """The next bytes of the answer; empty at its end."""
        try:
            async with asyncio.timeout(self._idle):
                while not isinstance(event := await self._event(), h11.EndOfMessage):
                    if isinstance(event, h11.Data) and event.data:
                        return bytes(event.data)
                    if not isinstance(event, h11.Data):
                        raise Broken("the sandbox ended its answer early")
        except (OSError, h11.ProtocolError) as error:
            raise Broken(f"the sandbox's answer broke off: {error!r}") from None
        return b""

    def close(self) -> None:
        if self._writer:
            self._writer.transport.abort()

    async def _answered(self) -> None:
        while not isinstance(event := await self._event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionError("there is no answer")
        self.status = event.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_READ))
        return event

    async def _send(self, event: h11.Event) -> None:
        assert self._writer
        if data := self._http.send(event):
            self._writer.write(data)
            async with asyncio.timeout(self._idle):
                await self._writer.drain()
