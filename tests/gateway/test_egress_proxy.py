"""Whom the egress proxy lets out, and where to."""

from __future__ import annotations

import asyncio
import base64

import pytest

from gateway.egress import EgressLimits
from tests.gateway.egress_parts import AUTH, PUBLIC, egress_world

REFUSED_HOSTS = [
    "127.1", "0x7f.1", "2130706433", "0", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::a9fe:a9fe]",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "10.0.0.1", "localhost", "①②⑦.⓪.⓪.①",
]  # fmt: skip


@pytest.mark.parametrize("port", [80, 443])
async def test_i16_addresses_in_every_spelling_are_403_and_nobody_is_asked(port: int) -> None:
    async with egress_world() as world:
        for host in REFUSED_HOSTS:
            async with asyncio.timeout(1):
                answer = await world.connect(f"{host}:{port}")
            assert answer.startswith(b"HTTP/1.1 403 "), host
            plain = await world.exchange(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n")
            assert plain.startswith(b"HTTP/1.1 403 "), host
        assert world.asked == [] and world.dialled == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["169.254.169.254", PUBLIC],
        [PUBLIC, "::1"],
        ["64:ff9b::a9fe:a9fe"],
        ["192.0.2.1"],
        ["fe80::1%eth0"],
    ],
)
async def test_i18_a_name_with_an_address_that_is_not_public(addresses: list[str]) -> None:
    async with egress_world() as world:
        world.names["rebind.test"] = addresses
        answer = await world.connect("rebind.test:443")
        assert answer.startswith(b"HTTP/1.1 403 ") and b"not public" in answer
        assert world.dialled == []


async def test_i18_a_name_is_resolved_once_and_its_address_is_dialled() -> None:
    async with egress_world() as world:
        answers = [[PUBLIC], ["127.0.0.1"]]

        class Changing(dict[str, list[str]]):
            def get(self, host: str, default: object = None) -> list[str]:  # type: ignore[override]
                return answers.pop(0)

        world.names = Changing()
        _, writer = await world.tunnel("rebind.test:443")
        assert (world.asked, world.dialled) == (["rebind.test"], [(PUBLIC, 443)])
        assert (await world.connect("rebind.test:443")).startswith(b"HTTP/1.1 403 ")
        writer.close()


@pytest.mark.parametrize("port", [0, 22, 25, 465, 587, 6379, 8080, 65535, 99999])
async def test_i19_other_ports_are_403(port: int) -> None:
    async with egress_world() as world:
        answer = await world.connect(f"example.com:{port}")
        assert answer.startswith(b"HTTP/1.1 403 ") and b"80 and 443" in answer
        assert world.asked == []


@pytest.mark.parametrize(
    "host",
    ["api.sessions.test", "API.sessions.test.", "sb-1-p3000.preview.sessions.test", "lb-1.elb.test"],
)
async def test_i20_own_names_are_403(host: str) -> None:
    async with egress_world() as world:
        assert (await world.connect(f"{host}:443")).startswith(b"HTTP/1.1 403 ")
        assert world.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "evilexample.com:443",
        "example.com.evil.test:443",
        "example.com\0.x:443",
        "example.com%00.x:443",
        "u@example.com:443",
    ],
)
async def test_i21_names_that_look_like_a_listed_one(target: str) -> None:
    async with egress_world(session=("example.com",)) as world:
        assert (await world.connect(target)).split()[1] in (b"403", b"400")
        assert world.asked == []


@pytest.mark.parametrize(
    ("allow", "session", "setting"),
    [
        (None, (), b"allowed_hosts"),
        ((), None, b"OPENSESSIONS_EGRESS_ALLOW"),
        (("other.test",), ("example.com",), b"OPENSESSIONS_EGRESS_ALLOW"),
        (("example.com",), ("other.test",), b"allowed_hosts"),
    ],
)
async def test_i21_a_refusal_names_host_and_setting_and_is_told_once(
    allow: tuple[str, ...] | None, session: tuple[str, ...] | None, setting: bytes
) -> None:
    async with egress_world(allow=allow, session=session) as world:
        for _ in range(3):
            answer = await world.connect("example.com:443")
            assert answer.startswith(b"HTTP/1.1 403 ") and b"example.com:443" in answer and setting in answer
        assert [(s, host, setting.decode() in reason) for s, host, reason in world.refused] == [
            ("session_a", "example.com", True)
        ]
        assert world.asked == []


async def test_i21_a_listed_host_in_another_spelling_is_let_through() -> None:
    async with egress_world(session=("example.com",)) as world:
        _, writer = await world.tunnel("EXAMPLE.COM.:443")
        assert world.asked == ["example.com"]
        writer.close()


GET = "GET http://example.com/ HTTP/1.1\r\n"
POST = f"POST http://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}"
CONNECT = f"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n{AUTH}"
MALFORMED = {
    "bytes behind CONNECT": f"{CONNECT}\r\nGET / HTTP/1.1\r\n\r\n",
    "CL and TE": f"{POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "CONNECT with CL": f"{CONNECT}Content-Length: 3\r\n\r\n",
    "CONNECT with TE": f"{CONNECT}Transfer-Encoding: chunked\r\n\r\n",
    "two CL": f"{POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
    "two Hosts": f"{GET}Host: x\r\nHost: y\r\n{AUTH}\r\n",
    "folded": f"{GET}Host: x\r\n{AUTH}A: b\r\n c\r\n\r\n",
    "bare LF": f"GET http://example.com/ HTTP/1.1\nHost: x\n{AUTH}\n",
    "LF in the middle": f"{GET}Host: x\nA: b\r\n{AUTH}\r\n",
    "space before colon": f"{GET}Host : x\r\n{AUTH}\r\n",
    "user in the URI": f"GET http://u:p@example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n",
    "https in the URI": f"GET https://example.com/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n",
    "origin-form": f"GET / HTTP/1.1\r\nHost: example.com\r\n{AUTH}\r\n",
    "asterisk": f"OPTIONS * HTTP/1.1\r\nHost: example.com\r\n{AUTH}\r\n",
    "CONNECT without a port": f"CONNECT example.com HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n",
    "CONNECT to a URI": f"CONNECT http://example.com:443/ HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": "GET http://example.com/\r\n\r\n",
    "TLS": "\x16\x03\x01\x00\x05hello\r\n\r\n",
    "blank line first": f"\r\n{CONNECT}\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_i23_malformed_requests_are_400_and_closed(case: str) -> None:
    async with egress_world() as world:
        answer = await world.exchange(MALFORMED[case])
        assert answer.startswith(b"HTTP/1.1 400 ") and b"Connection: close" in answer
        assert answer.count(b"HTTP/1.1") <= 2  # the text may name the version
        assert world.asked == []


async def test_i23_bytes_before_the_answer_in_a_packet_of_their_own() -> None:
    async with egress_world() as world:
        dialling, dial = asyncio.Event(), asyncio.Event()
        resolve = world.proxy._outside.resolve

        async def slow(host: str):  # type: ignore[no-untyped-def]
            dialling.set()
            await dial.wait()
            return await resolve(host)

        object.__setattr__(world.proxy._outside, "resolve", slow)
        reader, writer = await world.open()
        writer.write(f"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n".encode())
        await dialling.wait()
        writer.write(b"early")
        await writer.drain()
        passage = next(iter(world.proxy._tunnels["sb-a"]))
        await asyncio.sleep(0.05)
        assert not passage.done()
        dial.set()
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 400 ")
        writer.close()


def basic(text: str) -> str:
    return "Proxy-Authorization: Basic " + base64.b64encode(text.encode()).decode() + "\r\n"


@pytest.mark.parametrize(
    "auth",
    [
        "",
        basic("sandbox:wrong"),
        basic("egress-token:"),
        basic("egress-token"),
        "Proxy-Authorization: Bearer wrong\r\n",
        "Proxy-Authorization: Basic !!!\r\n",
        "Proxy-Authorization: Basic\r\n",
        "Authorization: Bearer egress-token\r\n",
        AUTH + AUTH,
    ],
)
async def test_without_an_egress_token_it_is_407(auth: str) -> None:
    async with egress_world() as world:
        answer = await world.connect("example.com:443", auth)
        assert answer.startswith(b"HTTP/1.1 407 ")
        assert b'\r\nProxy-Authenticate: Basic realm="sandbox egress"\r\n' in answer
        assert world.asked == [] and world.refused == []


@pytest.mark.parametrize("auth", [basic(":egress-token"), "proxy-authorization: bearer egress-token\r\n"])
async def test_both_ways_to_show_the_token(auth: str) -> None:
    async with egress_world() as world:
        _, writer = await world.tunnel("example.com:443", auth)
        writer.close()


async def test_a_head_that_is_too_long_or_too_slow() -> None:
    async with egress_world(limits=EgressLimits(head_seconds=0.2, linger_seconds=0.1)) as world:
        long = await world.exchange(b"CONNECT example.com:443 HTTP/1.1\r\nA: " + b"x" * 40_000)
        assert long.startswith(b"HTTP/1.1 431 ")
        slow = await world.exchange(b"CONNECT example.com:443 HTTP/1.1\r\n")
        assert slow.startswith(b"HTTP/1.1 408 ")


async def test_silent_connections_of_one_source_are_bounded() -> None:
    async with egress_world(limits=EgressLimits(unasked=3, linger_seconds=0.1)) as world:
        silent = [await world.open() for _ in range(3)]
        for _, writer in silent:
            writer.write(b"C")
        while world.proxy._unasked.total() < 3:
            await asyncio.sleep(0.005)
        assert (await world.connect("example.com:443")).startswith(b"HTTP/1.1 503 ")
        silent[0][1].close()
        while world.proxy._unasked.total() > 2:
            await asyncio.sleep(0.005)
        silent.append(await world.tunnel())
        for _, writer in silent:
            writer.close()


async def test_a_name_that_cannot_be_resolved_and_a_host_that_does_not_answer() -> None:
    async with egress_world() as world:
        world.names["nowhere.test"] = ()
        assert b" 502 " in (await world.connect("nowhere.test:443"))[:14]

        async def dead(host: str, port: int):  # type: ignore[no-untyped-def]
            raise ConnectionRefusedError

        object.__setattr__(world.proxy._outside, "connect", dead)
        answer = await world.connect("example.com:443")
        assert answer.startswith(b"HTTP/1.1 502 ") and b"example.com does not answer" in answer


async def test_a_host_that_never_answers_is_504() -> None:
    limits = EgressLimits(connect_seconds=0.1, linger_seconds=0.1)
    async with egress_world(limits=limits) as world:

        async def never(host: str, port: int):  # type: ignore[no-untyped-def]
            await asyncio.Event().wait()

        object.__setattr__(world.proxy._outside, "connect", never)
        assert (await world.exchange(f"CONNECT example.com:443 HTTP/1.1\r\n{AUTH}\r\n")).startswith(
            b"HTTP/1.1 504 "
        )
