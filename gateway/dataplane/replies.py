"""Answers that the proxy gives itself, and the reasons for which it has to."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

OURS: Final = b"Origin-Agent-Cluster: ?1\r\nX-Robots-Tag: noindex\r\n"
"""Fields on every final answer, an app's and ours."""

STATUS_LINES: Final[dict[int, bytes]] = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The status line with a phrase of our own: an app's may hold control characters."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


class Reason(Enum):
    """Why a request did not get an answer of the app."""

    NOTHING_LISTENS = "nothing listens on this port yet"
    NOT_THIS_SANDBOX = "another sandbox answers at this address"
    UNREACHABLE = "the sandbox cannot be reached"
    GONE = "the sandbox has ended"
    CROWDED = "too many connections are open to this port"
    BROKEN = "the app closed the connection or answered something that is not HTTP"
    SILENT = "the app did not answer in time"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Content-Length, Connection and the fields on every answer are added when it is sent."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()

    def encode(self, *, keep: bool, bodiless: bool = False, old: bool = False, added: bytes = b"") -> bytes:
        """The bytes to send. ``bodiless`` is for HEAD; ``old`` is for an HTTP/1.0 client; ``added`` are lines
        of the head.
        """
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers).encode("latin-1")
        if not keep:
            fields += b"Connection: close\r\n"
        elif old:
            fields += b"Connection: keep-alive\r\n"
        if self.status not in (204, 304):
            fields += b"Content-Length: %d\r\n" % len(self.body)
        body = b"" if bodiless or self.status in (204, 304) else self.body
        return status_line(self.status) + fields + added + OURS + b"\r\n" + body


def text(status: int, message: str, *headers: tuple[str, str]) -> Reply:
    """A reply in plain text that no cache keeps."""
    own = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))
    return Reply(status, f"{message}\n".encode(), own + headers)


def unread(status: int, why: str) -> Reply:
    """The answer to a head that was not taken. One that is too long may be so because another page of the
    domain set more cookies than any request can carry: they are cleared, so that the next one gets through.
    """
    cure = (("Clear-Site-Data", '"cookies"'),) if status == 431 else ()
    return text(status, f"Refused: {why}.", *cure)


_STATUS = {
    Reason.NOTHING_LISTENS: 502,
    Reason.NOT_THIS_SANDBOX: 403,
    Reason.UNREACHABLE: 502,
    Reason.GONE: 410,
    Reason.CROWDED: 503,
    Reason.BROKEN: 502,
    Reason.SILENT: 504,
}


def refusal(reason: Reason) -> Reply:
    """The plain answer for a reason, for callers who have no page of their own for it."""
    headers = (("Retry-After", "1"),) if reason in (Reason.NOTHING_LISTENS, Reason.CROWDED) else ()
    return text(_STATUS[reason], f"No answer: {reason.value}.", *headers)
