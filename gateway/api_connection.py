"""A connection to the API, as uvicorn serves it, that waits for nothing for ever and lets its last answer
arrive.
"""

import asyncio
import json
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS: Final = 10.0
HEAD_LIMIT: Final = 64 * 1024

_BODY = json.dumps({"error": {"type": "invalid_request", "message": "The head of the request is too long."}})
_TOO_LONG = (
    "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
    f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
).encode()


class _Asked:
    """What the answer to one request is written to, in the transport's place."""

    def __init__(self, connection: "ApiConnection") -> None:
        self._connection = connection
        self.whole = False
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        self._connection.part(self.whole)


class ApiConnection(HttpToolsProtocol):
    """Hangs up on whoever takes longer than 10 seconds or 64 KB for the head of a request; uvicorn itself
    limits neither.

    What still comes of a request that was answered before its end is read and dropped, up to `surplus_limit`
    bytes and for `surplus_seconds`. To close at once would be to send a reset, which takes the answer back.
    """

    surplus_limit = 64 * 1024 * 1024
    surplus_seconds = 5.0

    _asked: _Asked | None = None
    _late: asyncio.TimerHandle | None = None
    _parting = False
    _read = _surplus = 0

    def on_message_begin(self) -> None:
        self._read = 0
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_time()
        self._asked = _Asked(self)
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, self._asked)

    def on_message_complete(self) -> None:
        self._in_time()
        if self._asked:
            self._asked.whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._answered_early() and not self.transport.is_closing():
            self._in_time()
            self._surplus = 0
            self._late = self.loop.call_later(self.surplus_seconds, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._answered_early():
            self._surplus += len(data)
            if self._surplus > self.surplus_limit:
                self.transport.abort()
        if not self._parting:
            self._take(data)

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        self._read += len(data)
        reading_head = self._late is not None and not self._answered_early()
        if reading_head and self._read > HEAD_LIMIT and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def part(self, whole: bool) -> None:
        """The last answer is out: close, once the rest of its request has come if that is not `whole` yet."""
        if whole or self._parting:
            self.transport.close()
        else:
            self._parting = True
            self.transport.write_eof()

    def _answered_early(self) -> bool:
        return self._asked is not None and not self._asked.whole and self.cycle.response_complete

    def _in_time(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None
