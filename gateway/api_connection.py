"""A connection to the API, as uvicorn serves it, that does not wait for a head for ever."""

import asyncio
import json
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS: Final = 10.0
HEAD_LIMIT: Final = 64 * 1024

_BODY = json.dumps({"error": {"type": "invalid_request", "message": "The head of the request is too long."}})
_TOO_LONG = (
    "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
    f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
).encode()


class ApiConnection(HttpToolsProtocol):
    """Hangs up on whoever takes longer than 10 seconds or 64 KB for the head of a request; uvicorn itself
    limits neither.
    """

    _late: asyncio.TimerHandle | None = None
    _read = 0

    def on_message_begin(self) -> None:
        self._read = 0
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_time()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._read += len(data)
        if self._late and self._read > HEAD_LIMIT and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None
