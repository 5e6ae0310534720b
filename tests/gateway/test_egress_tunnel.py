"""What goes through the egress proxy once a host is allowed: tunnels, their limits, and plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from gateway.egress import EgressLimits
from tests.gateway.egress_parts import AUTH, PUBLIC, egress_world

CUT = (ConnectionResetError, asyncio.IncompleteReadError)


def hello(name: str | None) -> bytes:
    """What a real TLS client sends first when it asks for `name`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


async def test_a_tunnel_carries_bytes_both_ways_and_each_end_for_itself() -> None:
    async with egress_world() as world:
        reader, writer = await world.tunnel()
        writer.write(b"x" * 1_000_000)
        writer.write_eof()
        assert await reader.read(-1) == b"x" * 1_000_000
        writer.close()
        assert world.dialled == [(PUBLIC, 443)]
        assert world.moved == [1_000_000, 1_000_000]


async def test_on_a_unix_socket(tmp_path: Path) -> None:
    async with egress_world(unix_socket=tmp_path / "egress.sock") as world:
        reader, writer = await world.tunnel()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.close()


async def test_a_slow_reader_holds_the_sender_back() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            sent += 100_000
            await writer.drain()
        writer.write_eof()

    async with egress_world(flood) as world:
        reader, writer = await world.tunnel()
        before = -1
        while before != sent:  # until it stands still
            before = sent
            await asyncio.sleep(0.1)
        assert 0 < sent < 30_000_000
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        assert got == 100_000_000
        writer.close()


async def test_a_client_that_goes_away_ends_the_connection_outside() -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(100):
                pass
        ended.set()

    async with egress_world(wait) as world:
        _, writer = await world.tunnel()
        writer.write(b"x")
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)


async def test_an_idle_tunnel_is_cut() -> None:
    async with egress_world(limits=EgressLimits(idle_seconds=0.2)) as world:
        reader, writer = await world.tunnel()
        with pytest.raises(CUT):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()


async def test_one_sandbox_has_so_many_tunnels_and_no_more() -> None:
    async with egress_world(limits=EgressLimits(tunnels=3, linger_seconds=0.1)) as world:
        tunnels = [await world.tunnel() for _ in range(3)]
        answer = await world.connect("example.com:443")
        assert answer.startswith(b"HTTP/1.1 429 ") and b"Retry-After" in answer
        tunnels[0][1].write_eof()
        assert await tunnels[0][0].read(-1) == b""
        while len(world.proxy._tunnels["sb-a"]) > 2:
            await asyncio.sleep(0.005)
        tunnels.append(await world.tunnel())
        world.proxy.cut("sb-a")
        for reader, writer in tunnels[1:]:
            with pytest.raises(CUT):
                await asyncio.wait_for(reader.readexactly(1), 5)
            writer.close()


async def test_i21_with_a_list_the_tls_name_must_be_the_hosts() -> None:
    async with egress_world(session=("example.com",)) as world:
        reader, writer = await world.tunnel()
        first = hello("example.com")
        for at in range(0, len(first), 100):  # a ClientHello may come in pieces
            writer.write(first[at : at + 100])
            await writer.drain()
        assert await reader.readexactly(len(first)) == first
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"
        writer.close()


FRONTED = {
    "another host": (443, hello("evil.test")),
    "a host below it": (443, hello("a.example.com")),
    "no name": (443, hello(None)),
    "plain HTTP on 443": (443, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
    "another protocol": (443, b"SSH-2.0-x\r\n"),
    "TLS to another host on 80": (80, hello("evil.test")),
    "no ClientHello": (443, b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"),
    "an empty record": (443, b"\x16\x03\x01\x00\x00"),
}


@pytest.mark.parametrize("case", FRONTED)
async def test_i21_with_a_list_other_names_in_the_tunnel_reach_nobody(case: str) -> None:
    got = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read(-1))

    port, first = FRONTED[case]
    async with egress_world(listen, session=("example.com",)) as world:
        reader, writer = await world.tunnel(f"example.com:{port}")
        writer.write(first)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(-1), 5) == b""
        assert await asyncio.wait_for(got, 5) == b""
        assert [host for _, host, _ in world.refused] == ["example.com"]
        writer.close()


async def test_without_a_list_a_tunnel_may_carry_anything() -> None:
    async with egress_world() as world:
        reader, writer = await world.tunnel()
        writer.write(b"SSH-2.0-x\r\n")
        assert await reader.readexactly(11) == b"SSH-2.0-x\r\n"
        writer.close()


class Server:
    """A plain HTTP server that keeps what it got and answers `answer` when `enough` is there."""

    def __init__(self, answer: bytes, enough: bytes = b"\r\n\r\n") -> None:
        self.answer = answer
        self.enough = enough
        self.got = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self.enough not in self.got and (data := await reader.read(65536)):
            self.got += data
        writer.write(self.answer)
        await writer.drain()


OK = b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: b\r\nKeep-Alive: x\r\n\r\nok"


async def test_absolute_form_becomes_origin_form_with_the_host_of_the_uri() -> None:
    server = Server(OK)
    async with egress_world(server) as world:
        answer = await world.exchange(
            f"GET http://EXAMPLE.com/a?b#c HTTP/1.1\r\nHost: evil.test\r\n{AUTH}\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 400 ")  # a fragment is never sent
        answer = await world.exchange(
            f"GET http://EXAMPLE.com?a=/../b HTTP/1.1\r\nHost: evil.test\r\n{AUTH}"
            "Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
            "Upgrade: h2c\r\nTE: trailers\r\nX-Kept: 1\r\n\r\n"
        )
        assert server.got == (
            b"GET /?a=/../b HTTP/1.1\r\nHost: example.com\r\nX-Kept: 1\r\nConnection: close\r\n\r\n"
        )
        assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\nConnection: close\r\n\r\nok"
        assert world.dialled == [(PUBLIC, 80)]
        assert world.moved == [len(server.got), len(answer)]


BODIES = {
    "length": (b"Content-Length: 5\r\n\r\nhello", b"\r\n\r\nhello"),
    "chunked": (
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n",
        b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_is_passed_on_and_nothing_behind_it(kind: str) -> None:
    sent, arrived = BODIES[kind]
    server = Server(OK, arrived)
    async with egress_world(server) as world:
        smuggled = f"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n{AUTH}\r\n".encode()
        head = f"POST http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}".encode()
        answer = await world.exchange(head + sent + smuggled)
        assert answer.endswith(b"\r\n\r\nok") and server.got.endswith(arrived)
        assert b"evil" not in server.got and world.asked == ["example.com"]


ANSWERS = {
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
    "to the end": (b"HTTP/1.1 200 OK\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nextra",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    "redirect": (
        b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/",
    ),
    "nothing": (b"", b"HTTP/1.1 502 "),
    "no HTTP": (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 502 "),
    "switch": (b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"HTTP/1.1 502 "),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_answers(kind: str) -> None:
    answer, passed = ANSWERS[kind]
    async with egress_world(Server(answer)) as world:
        got = await world.exchange(f"GET http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n")
        assert got.startswith(passed), got
        assert len(world.dialled) == 1 and b"extra" not in got


async def test_a_cut_answer_keeps_its_length_and_is_short_of_it() -> None:
    async with egress_world(Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")) as world:
        answer = await world.exchange(f"GET http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n")
        assert b"Content-Length: 9\r\n" in answer and answer.endswith(b"\r\n\r\nabc")


async def test_an_early_answer_to_a_long_upload_arrives() -> None:
    async with egress_world(Server(b"HTTP/1.1 413 x\r\nContent-Length: 3\r\n\r\nbig")) as world:
        reader, writer = await world.open()
        head = f"POST http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}Content-Length: 9999\r\n\r\n"
        writer.write(head.encode() + b"x" * 100)
        assert (await asyncio.wait_for(reader.read(-1), 5)).endswith(b"\r\n\r\nbig")
        writer.close()


@pytest.mark.parametrize(("host", "status"), [("example.com", b"200"), ("evil.test", b"403")])
async def test_i21_with_a_list_plain_http_in_a_tunnel_asks_for_its_host(host: str, status: bytes) -> None:
    server = Server(OK)
    async with egress_world(server, session=("example.com",)) as world:
        reader, writer = await world.tunnel("example.com:80")
        again = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        writer.write(again + b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(-1), 5)
        assert answer.split()[1] == status and answer.count(b"HTTP/1.1 ") == 1
        assert b"evil" not in server.got
        writer.close()
