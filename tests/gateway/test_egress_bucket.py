"""The blob store through the egress proxy: open to every session's worker, and not at the session's cost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.egress import EgressLimits
from gateway.egress_policy import authority_of
from tests.gateway.egress_parts import WORKER, egress_world, shown
from tests.gateway.test_egress_tunnel import hello

AUTH = shown(WORKER)
NAMED = ("bucket.s3.test", 443)
LOOPBACK = ("127.0.0.1", 4566)


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP server that says the head that it got."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))
    await writer.drain()


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://Bucket.s3.eu-west-1.amazonaws.com/key?X-Amz-Signature=1", None),
        ("https://s3.eu-west-1.amazonaws.com/bucket/key", ("s3.eu-west-1.amazonaws.com", 443)),
        ("http://127.0.0.1:4566/bucket/key?x=http://other:1/", LOOPBACK),
        ("http://localhost/bucket", ("localhost", 80)),
    ],
)
def test_a_presigned_address_says_where_the_bucket_is(url: str, authority: tuple[str, int] | None) -> None:
    assert authority_of(url) == (authority or ("bucket.s3.eu-west-1.amazonaws.com", 443))


async def test_a_session_that_may_go_nowhere_gets_to_the_bucket_and_nowhere_else() -> None:
    async with egress_world(allow=(), session=(), bucket=NAMED) as world:
        world.names["bucket.s3.test"] = ["10.0.0.7"]
        reader, writer = await world.tunnel("Bucket.S3.test:443", AUTH)
        writer.write(hello("bucket.s3.test"))
        assert await reader.read(5) == hello("bucket.s3.test")[:5]
        assert world.dialled == [("10.0.0.7", 443)]
        for other in ("bucket.s3.test:80", "x.bucket.s3.test:443", "s3.test:443", "10.0.0.7:443"):
            assert (await world.connect(other)).startswith(b"HTTP/1.1 403 "), other
        assert len(world.dialled) == 1


async def test_an_address_without_a_name_is_dialled_unasked() -> None:
    async with egress_world(answers, allow=(), bucket=LOOPBACK) as world:
        url = "http://127.0.0.1:4566/bucket/key?X-Amz-Signature=a%2Fb"
        answer = await world.exchange(f"GET {url} HTTP/1.1\r\nHost: other\r\n{AUTH}\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        asked = answer.partition(b"\r\n\r\n")[2]
        assert asked.startswith(b"GET /bucket/key?X-Amz-Signature=a%2Fb HTTP/1.1\r\nHost: 127.0.0.1:4566\r\n")
        assert b"uthorization" not in asked
        assert (world.asked, world.dialled) == ([], [LOOPBACK])
        for other in ("127.0.0.1:80", "127.0.0.1:4567", "127.1:4566", "localhost:4566"):
            assert (await world.connect(other)).startswith(b"HTTP/1.1 403 "), other


async def test_its_bytes_are_not_the_sessions() -> None:
    limits = EgressLimits(session_bytes=100_000, bytes_per_second=100_000)
    async with egress_world(bucket=NAMED, limits=limits) as world:
        reader, writer = await world.tunnel("bucket.s3.test:443", AUTH)
        for _ in range(5):
            writer.write(b"x" * 100_000)
            assert await asyncio.wait_for(reader.readexactly(100_000), 5)
        assert world.moved == [0, 0]
        await world.tunnel("other.test:443")


async def test_the_workers_own_token_is_good_for_the_bucket_alone() -> None:
    async with egress_world(bucket=NAMED) as world:
        await world.tunnel("bucket.s3.test:443", AUTH)
        assert (await world.connect("other.test:443", AUTH)).startswith(b"HTTP/1.1 407 ")
        assert (await world.connect("bucket.s3.test:443", shown("x"))).startswith(b"HTTP/1.1 407 ")


async def test_the_name_in_a_tunnel_must_be_the_buckets_where_a_list_decides() -> None:
    async with egress_world(allow=("example.com",), bucket=NAMED) as world:
        reader, writer = await world.tunnel("bucket.s3.test:443", AUTH)
        writer.write(hello("other-bucket.s3.test"))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
