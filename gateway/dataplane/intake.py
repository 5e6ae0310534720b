"""What a visitor sends, taken apart: heads one by one, and each one's body as it goes on to the app."""

from gateway.dataplane.chunks import BadChunk, ChunkReader, frame
from gateway.dataplane.heads import BLANK, CHUNKED, HEAD_LIMIT, BadHead, Request, read_request


class Intake:
    """The requests on one connection. What comes after the current one waits in ``buffer``."""

    __slots__ = ("_chunks", "_left", "_scanned", "buffer", "whole")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.whole = True
        """Whether the body of the request last returned has been read to its end."""
        self._scanned = 0
        self._left = 0
        self._chunks: ChunkReader | None = None

    def next(self, data: bytes) -> Request | None:
        """Add ``data``; the next request once its head is there. Raises BadHead."""
        buffer = self.buffer
        if not buffer and data[:1] != b"\r" and data.find(BLANK) + 4 == len(data) > 4:
            # The usual read: one head and nothing else.
            return self._judge(data)
        buffer += data
        while buffer[:2] == b"\r\n":
            del buffer[:2]
        end = buffer.find(BLANK, self._scanned) + 4
        if end < 4:
            self._wait()
            return None
        head = bytes(buffer[:end])
        del buffer[:end]
        self._scanned = 0
        return self._judge(head)

    def body(self, data: bytes) -> bytes:
        """Take ``data`` as body; returns it framed for the app. Raises BadHead for senseless chunks."""
        if self._chunks is not None:
            try:
                payload, rest = self._chunks.feed(data)
            except BadChunk as bad:
                raise BadHead(str(bad)) from None
            self.whole = self._chunks.done
            self.buffer += rest
            return frame(payload, self.whole)
        if len(data) > self._left:
            self.buffer += data[self._left :]
            data = data[: self._left]
        self._left -= len(data)
        self.whole = not self._left
        return data

    def take(self) -> bytes:
        """Everything in the buffer, which is empty then."""
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def _wait(self) -> None:
        buffer, scanned = self.buffer, self._scanned
        if len(buffer) > HEAD_LIMIT:
            raise BadHead(f"the head of a request may have {HEAD_LIMIT} bytes", 431)
        if buffer.find(b"\n\n", scanned) >= 0 or buffer.find(b"\n\r\n", scanned) >= 0:
            raise BadHead("lines must end with CR LF")
        self._scanned = max(0, len(buffer) - 3)

    def _judge(self, head: bytes) -> Request:
        if len(head) > HEAD_LIMIT:
            raise BadHead(f"the head of a request may have {HEAD_LIMIT} bytes", 431)
        request = read_request(head)
        self._left = request.length
        self._chunks = ChunkReader() if request.length == CHUNKED else None
        self.whole = not request.length
        return request
