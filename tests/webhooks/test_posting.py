"""One delivery: what goes out, where it goes, and what each answer means. Over real sockets."""

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from opensessions.webhooks.deliveries import Outcome
from opensessions.webhooks.destinations import Destination, Destinations
from opensessions.webhooks.hooks import Hook
from opensessions.webhooks.posting import Poster
from tests.certificates import certificate

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = json.dumps({"type": "session.result", "data": {"metadata": {"name": "Ünïcode"}}})
OK = b"HTTP/1.1 204 No Content\r\n\r\n"

Serve = Callable[[socket.socket, bytes], None]


def now() -> datetime:
    return datetime.now(UTC)


class Receiver:
    """Listens on loopback; each connection is a call of `serve` with the request."""

    def __init__(self, serve: Serve, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._serve, self._context = serve, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(10)
                if self._context is None:
                    self._answer(connection)
                else:
                    with self._context.wrap_socket(connection, server_side=True) as secure:
                        self._answer(secure)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while not (head := request.partition(b"\r\n\r\n"))[1] or len(head[2]) < _length(head[0]):
            more = connection.recv(65536)
            if not more:
                return
            request += more
        self.requests.append(request)
        self._serve(connection, request)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def _length(head: bytes) -> int:
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


@contextmanager
def receiver(serve: Serve, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    running = Receiver(serve, context)
    try:
        yield running
    finally:
        running.close()


def saying(answer: bytes) -> Serve:
    return lambda connection, _: connection.sendall(answer)


def hook(port: int, path: str = "/hook") -> Hook:
    url = f"http://127.0.0.1:{port}{path}"
    return Hook(id="whk_1", account="acme", url=url, secret=SECRET, created_at=now())


def poster(seconds: float = 5.0) -> Poster:
    return Poster(Destinations(loopback=True), now, seconds=seconds)


def outcome(answer: bytes) -> Outcome:
    with receiver(saying(answer)) as there:
        return poster()(hook(there.port), "msg_1", BODY)


def test_what_goes_out_is_signed_by_the_standard() -> None:
    with receiver(saying(OK)) as there:
        assert poster()(hook(there.port, "/hook?a=1"), "msg_1", BODY) == Outcome(None)
    [request] = there.requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == "POST /hook?a=1 HTTP/1.1" and headers["Host"] == f"127.0.0.1:{there.port}"
    assert headers["Content-Type"] == "application/json" and headers["webhook-id"] == "msg_1"
    assert Webhook(SECRET).verify(body, headers) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)


@pytest.mark.parametrize(
    ("answer", "error", "gone"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None, False),
        (b"HTTP/1.0 202 Accepted\r\n\r\n", None, False),
        (b"HTTP/1.1 200\r\n\r\n", None, False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, None, False),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "It answered 500.", False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "It answered 404.", False),
        (b"HTTP/1.1 410 Gone\r\n\r\n", "It answered 410.", True),
        (b"HTTP/1.1 301 M\r\nLocation: http://127.0.0.1/\r\n\r\n", "redirects are not followed", False),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "redirects are not followed", False),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "does not answer in HTTP", False),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "does not answer in HTTP", False),
        (b"", "does not answer in HTTP", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "does not answer in HTTP", False),
    ],
)
def test_what_an_answer_means(answer: bytes, error: str | None, gone: bool) -> None:
    found = outcome(answer)
    assert found.gone is gone
    assert found.error is None if error is None else error in (found.error or "")


def test_a_redirect_to_a_private_address_reaches_nobody() -> None:
    with receiver(saying(OK)) as inside:
        for target in (f"http://127.0.0.1:{inside.port}/", "http://169.254.169.254/latest/meta-data"):
            answer = f"HTTP/1.1 307 Elsewhere\r\nLocation: {target}\r\n\r\n".encode()
            assert "not followed" in (outcome(answer).error or "")
    assert not inside.requests


def _drip(connection: socket.socket, _: bytes) -> None:
    with suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)


def _hold(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)  # until the caller hangs up


@pytest.mark.parametrize("serve", [_drip, _hold])
def test_who_stalls_is_given_up(serve: Serve) -> None:
    began = time.monotonic()
    with receiver(serve) as there:
        assert poster(seconds=0.4)(hook(there.port), "msg_1", BODY).error == "No answer came within 0.4 s."
        assert time.monotonic() - began < 2


def test_a_body_without_an_end_does_not_undo_the_status() -> None:
    def endless(connection: socket.socket, _: bytes) -> None:
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"x" * 65536)

    began = time.monotonic()
    with receiver(endless) as there:
        assert poster()(hook(there.port), "msg_1", BODY) == Outcome(None)
    assert time.monotonic() - began < 2


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "cannot be reached" in (poster()(hook(port), "msg_1", BODY).error or "")


def test_a_name_that_has_turned_private_is_not_dialled() -> None:
    public = Poster(Destinations(), now, resolve=lambda _: ["10.0.0.1"])
    to = hook(1).model_copy(update={"url": "https://example.com/"})
    assert public(to, "msg_1", BODY).error == "Its name leads to an address that is not public."
    assert "https://" in (public(hook(1), "msg_1", BODY).error or ""), "what is no longer allowed fails"


# ---- TLS: the address that was judged, by the name that was asked for ----


class Elsewhere(Destinations):
    """Leads the judged addresses of a name to a port of this machine."""

    def __init__(self, port: int, addresses: Sequence[str]) -> None:
        super().__init__()
        object.__setattr__(self, "there", (port, addresses))

    def parse(self, url: str, field: str = "url") -> Destination:
        return replace(super().parse(url, field), port=self.there[0])  # type: ignore[attr-defined]

    def addresses(self, destination: Destination, resolve: object = None) -> Sequence[str]:
        return list(self.there[1])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("host", "error"), [("hooks.example.com", None), ("other.example.com", "Its certificate is not valid")]
)
def test_the_certificate_is_for_the_name(tmp_path: Path, host: str, error: str | None) -> None:
    pem = certificate(tmp_path / "both.pem", "hooks.example.com")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(pem)
    ours = ssl.create_default_context(cafile=str(pem))
    with receiver(saying(OK), theirs) as there:
        to = Elsewhere(there.port, ["127.0.0.2", "127.0.0.1"])  # the first does not answer
        secure = hook(1).model_copy(update={"url": f"https://{host}/hook"})
        found = Poster(to, now, context=ours, seconds=5)(secure, "msg_1", BODY)
    assert found.error is None if error is None else (found.error or "").startswith(error)
    assert len(there.requests) == (error is None)
