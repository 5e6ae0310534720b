"""A session's bytes through the egress proxy: so many in all, and so many a second."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from gateway import egress_meter
from gateway.egress import EgressLimits
from gateway.egress_meter import REASON, Account, Accounts, Spent, Unheard
from tests.gateway.egress_parts import AUTH, Heard, World, egress_world


def accounts(most: int = 1000, rate: float = 1e9) -> Accounts:
    return Accounts(most, rate, Unheard())


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
    await writer.drain()


async def is_shut(world: World) -> None:
    """Every host is refused, whatever was refused first; and once a host it is told why."""
    for _ in range(2):
        answer = await world.connect("other.test:443")
        assert answer.startswith(b"HTTP/1.1 403 ") and REASON.encode() in answer
    answer = await world.exchange(f"GET http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert world.refused == [("session_a", host, REASON) for host in ("example.com", "other.test")]


async def test_h10_a_tunnel_ends_where_the_session_has_had_its_bytes() -> None:
    async with egress_world(limits=EgressLimits(session_bytes=100_000)) as world:
        reader, writer = await world.tunnel()
        writer.write(b"x" * 40_000)
        assert await reader.readexactly(40_000) == b"x" * 40_000
        writer.write(b"x" * 40_000)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(40_000), 5)
        assert sum(world.moved) <= 100_000
        await is_shut(world)


async def test_h10_an_answer_ends_where_the_session_has_had_its_bytes() -> None:
    async with egress_world(source, limits=EgressLimits(session_bytes=100_000)) as world:
        got = b""
        with suppress(ConnectionResetError):
            got = await world.exchange(f"GET http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n")
        assert len(got) <= 100_000
        await is_shut(world)


async def test_h10_an_upload_ends_where_the_session_has_had_its_bytes() -> None:
    async with egress_world(sink, limits=EgressLimits(session_bytes=100_000)) as world:
        head = f"POST http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}Content-Length: 200000\r\n\r\n"
        with suppress(ConnectionResetError, BrokenPipeError):
            assert await world.exchange(head.encode() + b"x" * 200_000) == b""
        assert sum(world.moved) <= 100_000
        await is_shut(world)


async def test_h10_bytes_come_no_faster_than_they_may() -> None:
    async with egress_world(limits=EgressLimits(bytes_per_second=2_000_000)) as world:
        began = time.monotonic()
        both = [await world.tunnel(host) for host in ("one.test:443", "two.test:443")]
        for _, writer in both:
            writer.write(b"x" * 600_000)
        for reader, _ in both:
            assert await reader.readexactly(600_000)
        assert time.monotonic() - began >= 0.2  # 2.4 MB in all, of which 2 MB may come in a burst
        assert world.refused == []


async def test_the_burst_is_there_again_after_a_while_but_no_more_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(egress_meter, "BURST_SECONDS", 0.05)
    account = accounts(10**9, 1_000_000).of("a")
    loop = asyncio.get_running_loop()
    for _ in range(2):
        await account.sent(50_000)
        began = loop.time()
        await account.sent(50_000)
        assert loop.time() - began >= 0.04
        await asyncio.sleep(0.1)


async def test_both_ways_count_and_what_does_not_fit_is_the_end() -> None:
    heard = Heard()
    account = Account("a", 1000, 1e9, heard)
    await account.sent(600)
    await account.received(400)
    for _ in range(2):
        with pytest.raises(Spent):
            await account.received(1)
    assert account.spent and heard.moved == [600, 400]


async def test_sessions_have_accounts_of_their_own_and_the_quietest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(egress_meter, "KEPT", 2)
    known = accounts()
    one, two = known.of("one"), known.of("two")
    with pytest.raises(Spent):
        await one.sent(1001)
    assert not two.spent and known.of("one") is one
    known.of("three")
    assert known.of("one") is one and known.of("two") is not two
