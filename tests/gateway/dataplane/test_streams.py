"""Long and large things: event streams, tunnels, slow readers on either side; memory stays bounded."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from gateway.dataplane import Limits, tcp
from tests.gateway.dataplane.stage import GET, OK, Stage, Wire, request

_MB = 1_000_000
_UPGRADE = request(b"GET /chat HTTP/1.1", b"Connection: Upgrade", b"Upgrade: echo/1")
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"


def test_an_event_stream_is_passed_event_by_event(stage: Stage) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    assert b"text/event-stream" in visitor.head()
    for i in range(20):
        app.send(b"data: %d\n\n" % (i % 10))
        assert visitor.read(14) == b"9\r\ndata: %d\n\n\r\n" % (i % 10)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux acknowledges on request")
def test_what_is_not_the_end_of_an_answer_is_acknowledged_at_once(stage: Stage) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()

    def at_once() -> int:
        raw = stage.upstream.get_extra_info("socket")
        return int(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))

    for _ in range(20):  # each request makes the kernel put acknowledgements off again
        app.head()
        for piece in OK[:-5], OK[-5:-2]:
            app.send(piece)
            visitor.read(len(piece))
            assert stage.do(at_once) == 1
        app.send(OK[-2:])
        visitor.read(2)
        visitor.send(GET)


def _pump(wire: Wire, size: int) -> tuple[threading.Thread, list[int]]:
    """Send this much from a thread; the list tells how much went out so far."""
    sent = [0]
    block = b"x" * _MB

    def run() -> None:
        wire.sock.settimeout(None)
        try:
            while sent[0] < size:
                wire.sock.sendall(block)
                sent[0] += len(block)
        except OSError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    return thread, sent


def _settled(sent: list[int]) -> int:
    """How much was sent once no more goes out for a while."""
    last, still = -1, 0
    for _ in range(400):
        still = still + 1 if sent[0] == last else 0
        if still > 12:
            return last
        last = sent[0]
        threading.Event().wait(0.025)
    raise AssertionError("it never stopped sending")


def _buffered(stage: Stage) -> int:
    return stage.do(
        lambda: sum(
            side.transport.get_write_buffer_size()
            for client in stage.proxy._clients
            for side in (client, client.upstream)
            if side is not None
        )
    )


def test_a_gigabyte_with_a_slow_reader_stops_at_the_app(stage: Stage) -> None:
    visitor = stage.visitor(GET, buffer=65536)
    app = stage.accept()
    app.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    thread, sent = _pump(app, 1000 * _MB)
    try:
        visitor.head()
        for _ in range(3):
            assert _settled(sent) < 40 * _MB
            assert _buffered(stage) < 2 * _MB
            visitor.read(_MB)
    finally:
        visitor.close()
        thread.join(5)
    assert not thread.is_alive()


def test_a_large_body_arrives_whole(stage: Stage) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (30 * _MB))
    thread, _ = _pump(app, 30 * _MB)
    visitor.head()
    left = 30 * _MB
    while left:
        left -= len(visitor.read(min(left, 200_000)))
    thread.join(5)
    visitor.send(GET)
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_an_upload_to_a_slow_app_stops_at_the_visitor(stage: Stage, coding: str) -> None:
    stage.do(lambda: stage._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536))
    field = b"Content-Length: 1000000000" if coding == "length" else b"Transfer-Encoding: chunked"
    visitor = stage.visitor()
    visitor.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
    visitor.send(request(b"POST / HTTP/1.1", field) + (b"" if coding == "length" else b"3B9ACA00\r\n"))
    app = stage.accept()
    app.head()
    thread, sent = _pump(visitor, 1000 * _MB)
    try:
        for _ in range(2):
            assert _settled(sent) < 40 * _MB
            assert _buffered(stage) < 2 * _MB
            app.read(_MB)
    finally:
        app.close()
        visitor.close()
        thread.join(5)
    assert not thread.is_alive()


def test_an_upload_that_outruns_a_slow_connect_waits(stages: Callable[..., Stage]) -> None:
    stage = stages(limits=Limits(connect_seconds=60))
    gate = stage.do(asyncio.Event)

    async def slow(factory: Callable[[], asyncio.Protocol]) -> asyncio.BaseTransport:
        await gate.wait()
        return await tcp("127.0.0.1", stage.app_port)(factory)

    stage.do(lambda: setattr(stage.route, "_connect", slow))
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: %d" % (100 * _MB)))
    visitor.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
    thread, sent = _pump(visitor, 100 * _MB)
    assert _settled(sent) < 40 * _MB
    stage.do(gate.set)
    app = stage.accept()
    app.head()
    left = 100 * _MB
    while left:
        left -= len(app.read(min(left, 200_000)))
    thread.join(5)
    app.send(OK)
    assert visitor.answer()[0] == 200


def test_refusals_that_nobody_reads_stay_bounded(stage: Stage) -> None:
    visitor = stage.visitor(buffer=4096)
    flood = request(b"GET / HTTP/1.1", host=b"unknown.test") * 1000
    visitor.sock.settimeout(0.3)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 200 * _MB:
            sent += visitor.sock.send(flood)
    assert _buffered(stage) < 2 * _MB
    assert stage.do(lambda: max(len(client.intake.buffer) for client in stage.proxy._clients)) < _MB


def test_an_upgrade_to_any_protocol_is_a_tunnel(stage: Stage) -> None:
    visitor = stage.visitor(_UPGRADE + b"early bytes")
    app = stage.accept()
    assert b"Connection: Upgrade\r\nUpgrade: echo/1\r\n" in app.head()
    assert app.quiet()
    app.send(_SWITCH + b"welcome")
    assert visitor.head() == _SWITCH
    assert visitor.read(7) == b"welcome" and app.read(11) == b"early bytes"
    visitor.send(b"GET / HTTP/1.1\r\n\r\n")
    assert app.read(18) == b"GET / HTTP/1.1\r\n\r\n"
    visitor.finish()
    assert app.rest() == b""
    app.send(b"last words")
    app.close()
    assert visitor.rest() == b"last words"


def test_a_refused_upgrade_is_an_answer_and_what_followed_is_the_next_request(stage: Stage) -> None:
    visitor = stage.visitor(_UPGRADE + GET)
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
    assert visitor.answer()[0] == 426
    assert app.head().startswith(b"GET / HTTP/1.1\r\n")
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


@pytest.mark.parametrize("who", ["visitor", "app"])
def test_a_tunnel_ends_for_both(stage: Stage, who: str) -> None:
    visitor = stage.visitor(_UPGRADE)
    app = stage.accept()
    app.head()
    app.send(_SWITCH)
    visitor.head()
    ends, other = (visitor, app) if who == "visitor" else (app, visitor)
    ends.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.close()
    assert other.rest() == b""
    stage.until(lambda: not stage.proxy._clients and not stage.route.busy)


def test_a_tunnel_with_a_slow_reader_stops_at_the_sender(stage: Stage) -> None:
    visitor = stage.visitor(_UPGRADE, buffer=65536)
    app = stage.accept()
    app.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
    app.head()
    app.send(_SWITCH)
    visitor.head()
    thread, sent = _pump(app, 1000 * _MB)
    try:
        assert _settled(sent) < 40 * _MB
        assert _buffered(stage) < 2 * _MB
    finally:
        visitor.close()
        thread.join(5)


def test_revocation_cuts_a_tunnel(stage: Stage) -> None:
    visitor = stage.visitor(_UPGRADE)
    app = stage.accept()
    app.head()
    app.send(_SWITCH)
    visitor.head()
    stage.do(stage.route.close)
    assert visitor.rest() == b"" and app.rest() == b""


@asynccontextmanager
async def _socket_app(stage: Stage) -> AsyncIterator[str]:
    """A WebSocket app behind the stage; the address is the preview's."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, subprotocols=["chat"], max_size=None) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        stage.do(lambda: setattr(stage.route, "_connect", tcp("127.0.0.1", port)))
        yield "ws://sb-1-p3000.test:8000/socket"


async def test_websockets_with_large_messages_compression_and_a_subprotocol(stage: Stage) -> None:
    async with _socket_app(stage) as url:
        where = {"host": "127.0.0.1", "port": stage.port}
        async with connect(url, subprotocols=["chat"], max_size=None, **where) as client:  # type: ignore
            assert client.subprotocol == "chat"
            assert any("deflate" in type(extension).__module__ for extension in client.protocol.extensions)
            for message in ("hello", b"x" * 3_000_000, "\u00e4" * 1000):
                await client.send(message)
                assert await client.recv() == message


async def test_a_websocket_that_the_app_refuses_is_an_answer(stage: Stage) -> None:
    async with _socket_app(stage) as url:
        with pytest.raises(InvalidStatus) as refused:
            await connect(
                url, host="127.0.0.1", port=stage.port, additional_headers={"Sec-WebSocket-Version": "7"}
            )
        assert refused.value.response.status_code in (400, 426)
