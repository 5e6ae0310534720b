"""Random traffic through the proxy, with h11 as the judge of what either side gets.

DATAPLANE_FUZZ_ROUNDS multiplies the cases (1), DATAPLANE_FUZZ_SEED picks others (0).
"""

import asyncio
import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import h11
import pytest

from gateway.dataplane import Names, Proxy, Reply, Request, Route, tcp, text
from tests.gateway.dataplane.stage import HOST, LOOPS, ORIGIN

ROUNDS = int(os.environ.get("DATAPLANE_FUZZ_ROUNDS", "1"))
SEED = int(os.environ.get("DATAPLANE_FUZZ_SEED", "0"))
_AT_ONCE = 40
_LIMIT = 100_000

Message = tuple[bytes, bytes, bytes]
"""Method, target and body of a request; or status, the X-Plan field and body of an answer."""


@dataclass
class Hall:
    """A proxy and the app behind it, which answers each target as it is told to."""

    rng: random.Random
    plans: dict[bytes, bytes] = field(default_factory=dict)
    """What to answer, by the request's target."""
    last: set[bytes] = field(default_factory=set)
    """The targets after whose answer the app closes."""
    seen: list[Message] = field(default_factory=list)
    """What the app got, as h11 read it."""
    wrong: list[str] = field(default_factory=list)
    port: int = 0

    async def app(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        judge = h11.Connection(h11.SERVER, max_incomplete_event_size=_LIMIT)
        try:
            while request := await self._request(judge, reader):
                self.seen.append(request)
                plan = self.plans.get(request[1], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await send(self.rng, writer, plan)
                if request[1] in self.last:
                    await asyncio.sleep(0.02)
                    return
                if judge.their_state is h11.MUST_CLOSE:
                    return
                judge.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                judge.send(h11.EndOfMessage())
                judge.start_next_cycle()
        except (ConnectionError, asyncio.CancelledError):
            pass
        except h11.ProtocolError as error:
            self.wrong.append(f"the app got what h11 refuses: {error}")
        finally:
            writer.close()

    async def _request(self, judge: h11.Connection, reader: asyncio.StreamReader) -> Message | None:
        method = target = body = b""
        while True:
            event = judge.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(65536)
                if not data:  # a request that is cut was never whole
                    return None
                judge.receive_data(data)
            elif isinstance(event, h11.Request):
                method, target = event.method, event.target
                hosts = [value for name, value in event.headers if name == b"host"]
                if hosts != [b"localhost:3000"]:
                    self.wrong.append(f"the app got the hosts {hosts}")
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return method, target, body
            else:
                return None


async def send(rng: random.Random, writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write in fragments of random size."""
    while data:
        size = rng.choice((1, 2, 7, 60, 700, 9000, len(data)))
        writer.write(data[:size])
        data = data[size:]
        await writer.drain()
        if rng.random() < 0.3:
            await asyncio.sleep(0)


async def hear(reader: asyncio.StreamReader, seconds: float) -> tuple[bytes, bool]:
    """All that comes until it is quiet for so long, and whether the other end closed."""
    heard = b""
    with suppress(TimeoutError, ConnectionError):
        while data := await asyncio.wait_for(reader.read(65536), seconds):
            heard += data
        return heard, True
    return heard, reader.at_eof() or reader.exception() is not None


def answers(raw: bytes, methods: list[bytes], closed: bool) -> list[Message]:
    """The whole answers in what a visitor got, as h11 reads them. Raises h11.RemoteProtocolError."""
    found = []
    for method in methods:
        if not raw:
            break
        judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LIMIT)
        judge.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        judge.receive_data(raw)
        message = _answer(judge, closed)
        if message is None:
            break
        found.append(message)
        raw = judge.trailing_data[0]
    return found


def _answer(judge: h11.Connection, closed: bool) -> Message | None:
    status = plan = body = b""
    while (event := _next(judge, closed)) is not None:
        if isinstance(event, h11.Response):
            status, plan = b"%d" % event.status_code, dict(event.headers).get(b"x-plan", b"")
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, plan, body
    return None


def _next(judge: h11.Connection, closed: bool) -> h11.Event | None:
    """The next event; None where the bytes end in the middle of a message."""
    event = judge.next_event()
    if event is h11.NEED_DATA and closed:
        judge.receive_data(b"")
        with suppress(h11.RemoteProtocolError):
            event = judge.next_event()
    return None if isinstance(event, (type, h11.ConnectionClosed)) else event


# Traffic that is in order


def chunked(rng: random.Random, body: bytes) -> bytes:
    coded = b""
    while body:
        size = rng.randint(1, len(body))
        extension = rng.choice((b"", b"", b";a", b';b="c"'))
        coded += b"%x%b\r\n%b\r\n" % (size, extension, body[:size])
        body = body[size:]
    return coded + rng.choice((b"0\r\n\r\n", b"000\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"))


def a_body(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 20, 3000, 70_000)))


def framed(rng: random.Random, body: bytes) -> tuple[bytes, bytes]:
    """A framing field and the body in it."""
    if rng.random() < 0.5:
        return b"Content-Length: %d\r\n" % len(body), body
    return b"Transfer-Encoding: chunked\r\n", chunked(rng, body)


def a_request(rng: random.Random, target: bytes) -> tuple[bytes, Message]:
    method = rng.choice((b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS"))
    body = a_body(rng) if method in (b"POST", b"PUT") else b""
    framing, coded = framed(rng, body) if body else (b"", b"")
    more = b"".join(b"X-%d: %b\r\n" % (i, b"v" * rng.randrange(50)) for i in range(rng.randrange(5)))
    head = method + b" " + target + b" HTTP/1.1\r\nHost: " + HOST + b"\r\n" + more + framing + b"\r\n"
    return head + coded, (method, target, body)


def an_answer(rng: random.Random, method: bytes, plan: bytes) -> tuple[bytes, Message]:
    status = rng.choice((200, 200, 200, 201, 204, 304, 404, 500))
    hints = rng.choice((b"", b"", b"", b"HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n"))
    head = b"HTTP/1.1 %d X\r\nX-Plan: %b\r\n" % (status, plan)
    if method == b"HEAD" or status in (204, 304):
        length = b"" if status == 204 else b"Content-Length: 9\r\n"
        return hints + head + length + b"\r\n", (b"%d" % status, plan, b"")
    body = a_body(rng)
    framing, coded = framed(rng, body)
    return hints + head + framing + b"\r\n" + coded, (b"%d" % status, plan, body)


async def _pipeline(hall: Hall, rng: random.Random, name: int) -> None:
    sent, asked, expected = b"", [], []
    for i in range(rng.randint(1, 8)):
        target = b"/%d/%d" % (name, i)
        raw, message = a_request(rng, target)
        hall.plans[target], answer = an_answer(rng, message[0], target)
        sent += raw
        asked.append(message)
        expected.append(answer)
    reader, writer = await asyncio.open_connection("127.0.0.1", hall.port)
    heard = asyncio.ensure_future(_until(reader, [m[0] for m in asked]))
    await send(rng, writer, sent)
    got, _ = await heard
    writer.close()
    seen = [message for message in hall.seen if message[1].startswith(b"/%d/" % name)]
    assert got == expected
    assert seen == asked


async def _until(reader: asyncio.StreamReader, methods: list[bytes]) -> tuple[list[Message], bool]:
    """The answers to these methods, or as many as come before the other end closes, and whether it did."""
    raw = b""
    async with asyncio.timeout(20):
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                raw += data
                if len(found := answers(raw, methods, closed=False)) == len(methods):
                    return found, False
    return answers(raw, methods, closed=True), True


# Traffic that is not

_NASTY = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"0x", b"+", b"-", b"\r\n\r\n", b"\r\n ", b"\xff",
    b"Content-Length: 3\r\n", b"Content-Length: 30\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked",
    b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: x\r\n", b"Connection: close\r\n", b"0\r\n\r\n",
    b"Host: evil.test\r\n", b"HTTP/1.0", b"HTTP/1.1", b"Expect: 100-continue\r\n", b"GET /x HTTP/1.1\r\n",
    b"Connection: Upgrade\r\nUpgrade: x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"101",
    b"204", b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length: 0\r\n",
)  # fmt: skip


def mutated(rng: random.Random, raw: bytes) -> bytes:
    for _ in range(rng.randint(1, 3)):
        end = max(1, raw.find(b"\r\n\r\n") + 4) if rng.random() < 0.8 else len(raw)
        lines = [0, *(i + 2 for i in range(end - 1) if raw[i : i + 2] == b"\r\n")]
        at = rng.choice(lines) if rng.random() < 0.5 else rng.randrange(end)
        cut = rng.choice((0, 0, 0, 1, 2, 10))
        raw = raw[:at] + rng.choice((b"", *_NASTY)) + raw[at + cut :]
    return raw


def requests_in(raw: bytes) -> list[Message]:
    """The requests that h11 finds in bytes, as far as it gets. Blank lines before one are to be skipped."""
    found: list[Message] = []
    with suppress(h11.RemoteProtocolError):
        while raw := raw.lstrip(b"\r\n") if raw[:2] == b"\r\n" else raw:
            judge = h11.Connection(h11.SERVER, max_incomplete_event_size=_LIMIT)
            judge.receive_data(raw)
            message = _request(judge)
            if message is None:
                break
            found.append(message)
            raw = judge.trailing_data[0]
    return found


def _request(judge: h11.Connection) -> Message | None:
    method = target = body = b""
    while (event := _next(judge, closed=False)) is not None:
        if isinstance(event, h11.Request):
            method, target = event.method, event.target
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return method, target, body
    return None


async def _bad_request(hall: Hall, rng: random.Random, name: int) -> None:
    first, _ = a_request(rng, b"/%d/first" % name)
    raw = mutated(rng, first) + a_request(rng, b"/%d/second" % name)[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", hall.port)
    with suppress(ConnectionError):
        await send(rng, writer, raw)
    heard, closed = await hear(reader, 0.1)
    writer.close()
    seen = [message for message in hall.seen if b"/%d/" % name in message[1]]
    whole = requests_in(raw)
    rest = iter(whole)  # of these, in their order, the app may get some: another host is answered for it
    assert all(message in rest for message in seen), raw
    methods = [message[0] for message in whole] + [b"GET"] * 3
    answers(heard, methods, closed)


_PHRASE = re.compile(
    rb"^(HTTP/1\.[01] [0-9]{3}) [^\r\n]*[\0-\x08\x0b\x0c\x0e-\x1f\x7f][^\r\n]*", re.MULTILINE
)
"""A reason phrase with control characters, which is not passed on: the proxy writes its own."""


async def _bad_answer(hall: Hall, rng: random.Random, name: int) -> None:
    target = b"/%d/bad" % name
    method = rng.choice((b"GET", b"GET", b"HEAD"))
    raw = mutated(rng, an_answer(rng, method, target)[0])
    hall.plans[target] = raw
    hall.last.add(target)
    reader, writer = await asyncio.open_connection("127.0.0.1", hall.port)
    writer.write(method + b" " + target + b" HTTP/1.1\r\nHost: " + HOST + b"\r\n\r\n")
    got, closed = await _until(reader, [method])
    writer.close()
    if got and got[0][0] != b"502":
        judged = answers(_PHRASE.sub(rb"\1 X", raw), [method], closed=True)
        assert got == judged, raw
    else:
        assert got or closed, raw


async def _run(case: Callable[[Hall, random.Random, int], object], count: int, seed: int) -> None:
    rng = random.Random(seed)
    hall = Hall(rng)
    app = await asyncio.start_server(hall.app, "127.0.0.1", 0, limit=_LIMIT)
    route = Route(Names(ORIGIN, 3000), tcp("127.0.0.1", app.sockets[0].getsockname()[1]))

    async def resolve(request: Request) -> Route | Reply:
        return route if request.host == HOST else text(421, "Not here.")

    proxy = Proxy(resolve)
    server = await asyncio.get_running_loop().create_server(proxy, "127.0.0.1", 0)
    hall.port = server.sockets[0].getsockname()[1]
    try:
        for start in range(0, count, _AT_ONCE):
            names = range(start, min(count, start + _AT_ONCE))
            await asyncio.gather(*(case(hall, random.Random(f"{seed}/{n}"), n) for n in names))  # type: ignore
            assert not hall.wrong
            hall.seen.clear()
    finally:
        server.close()
        app.close()
        route.close()
        await proxy.shutdown(0)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(("case", "count"), [(_pipeline, 120), (_bad_request, 400), (_bad_answer, 400)])
def test_h11_finds_nothing_wrong(
    loop_name: str, case: Callable[[Hall, random.Random, int], object], count: int
) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(_run(case, count * ROUNDS, SEED))
