"""One delivery of a webhook: signed, posted to where its URL leads, and judged by the answer's status."""

import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from standardwebhooks.webhooks import Webhook

from opensessions.addresses import look_up
from opensessions.errors import InvalidRequest
from opensessions.webhooks.deliveries import Outcome
from opensessions.webhooks.destinations import Destination, Destinations, Unreachable
from opensessions.webhooks.hooks import Hook

SECONDS = 10.0
"""For a whole delivery, from the connection to the status."""
ANSWER_BYTES = 16 * 1024
"""What is read of an answer at most; all but its status is thrown away."""
_LINGER = 0.5
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")
_END = b"\r\n\r\n"


class Poster:
    """Posts to the addresses that were judged, and to nothing that an answer names: redirects are failures.
    Thread-safe; a call takes `seconds` at most, and what the machine's resolver takes.
    """

    def __init__(
        self,
        destinations: Destinations,
        clock: Callable[[], datetime],
        *,
        resolve: Callable[[str], Sequence[str]] = look_up,
        context: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._destinations, self._clock, self._resolve = destinations, clock, resolve
        self._context = context or ssl.create_default_context()
        self._seconds = seconds

    def __call__(self, hook: Hook, delivery_id: str, body: str) -> Outcome:
        """What came of it; never raises for what a receiver does."""
        try:
            to = self._destinations.parse(hook.url)
            addresses = self._destinations.addresses(to, self._resolve)
            status = self._exchange(to, addresses, self._request(hook, to, delivery_id, body))
        except (InvalidRequest, Unreachable) as error:
            return Outcome(str(error))
        except TimeoutError:
            return Outcome(f"No answer came within {self._seconds:g} s.")
        except ssl.SSLCertVerificationError as error:
            return Outcome(f"Its certificate is not valid: {error.verify_message}.")
        except (OSError, ValueError):
            return Outcome("It cannot be reached, or does not answer in HTTP.")
        if 300 <= status < 400:
            return Outcome(f"It answered {status}; redirects are not followed.")
        return Outcome(None if status < 300 else f"It answered {status}.", gone=status == 410)

    def _request(self, hook: Hook, to: Destination, delivery_id: str, body: str) -> bytes:
        now, data = self._clock(), body.encode()
        lines = (
            f"POST {to.path} HTTP/1.1",
            f"Host: {to.authority}",
            "User-Agent: opensessions-webhooks",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            f"webhook-id: {delivery_id}",
            f"webhook-timestamp: {int(now.timestamp())}",
            f"webhook-signature: {Webhook(hook.secret).sign(delivery_id, now, body)}",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + _END + data

    def _exchange(self, to: Destination, addresses: Sequence[str], request: bytes) -> int:
        deadline = time.monotonic() + self._seconds
        with self._dialled(to, addresses, deadline) as plain:
            if not to.secure:
                return _asked(plain, request, deadline)
            plain.settimeout(_left(deadline))
            with self._context.wrap_socket(plain, server_hostname=to.host) as sock:
                return _asked(sock, request, deadline)

    def _dialled(self, to: Destination, addresses: Sequence[str], deadline: float) -> socket.socket:
        for address in addresses[:-1]:
            with suppress(OSError):
                return socket.create_connection((address, to.port), _left(deadline) / 2)
        return socket.create_connection((addresses[-1], to.port), _left(deadline))


def _asked(sock: socket.socket, request: bytes, deadline: float) -> int:
    """The status of the answer. Raises ValueError for what is no answer."""
    sock.settimeout(_left(deadline))
    sock.sendall(request)
    answer, begin, status = b"", 0, 100
    while status < 200:  # those before it say that the answer is to come
        while (end := answer.find(_END, begin)) < 0:
            sock.settimeout(_left(deadline))
            more = sock.recv(4096)
            if not more or len(answer) > ANSWER_BYTES:
                raise ValueError("no head")
            answer += more
        found = _STATUS.match(answer, begin)
        if not found:
            raise ValueError("no status")
        status, begin = int(found[1]), end + len(_END)
    _hear_out(sock, ANSWER_BYTES - len(answer))
    return status


def _hear_out(sock: socket.socket, left: int) -> None:
    """Wait a moment for the answer's end: some receivers stop their work when the caller hangs up."""
    deadline = time.monotonic() + _LINGER
    with suppress(OSError):
        while left > 0 and (pause := deadline - time.monotonic()) > 0:
            sock.settimeout(pause)
            more = sock.recv(4096)
            if not more:
                return
            left -= len(more)


def _left(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
