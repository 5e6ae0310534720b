"""One request and its answer, seen from both sides: every case that HTTP/1.1 has and proxies get wrong."""

import asyncio
from typing import cast

import pytest

from tests.gateway.dataplane.stage import GET, HOST, OK, Stage, fields_of, request

CHUNKED_OK = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\n"
)


def test_a_get_and_its_answer_with_both_heads_as_they_should_be(stage: Stage) -> None:
    head, visitor = stage.exchange(
        request(b"GET /a%2Fb/../c//d?[1] HTTP/1.1", b"Accept: */*", b"X-Case: Kept")
    )
    assert head == (
        b"GET /a%2Fb/../c//d?[1] HTTP/1.1\r\nHost: localhost:3000\r\nAccept: */*\r\nX-Case: Kept\r\n"
        b"X-Preview-Hops: 1\r\n\r\n"
    )
    status, fields, body = visitor.answer()
    assert (status, body) == (200, b"hello")
    assert fields == {
        b"content-length": b"5",
        b"origin-agent-cluster": b"?1",
        b"x-robots-tag": b"noindex",
    }


def test_hop_by_hop_fields_stay_on_their_hop_both_ways(stage: Stage) -> None:
    sent = request(
        b"GET / HTTP/1.1", b"Connection: X-Foo, TE", b"TE: trailers", b"X-Foo: 1", b"Keep-Alive: 5"
    )
    answer = b"HTTP/1.1 200 OK\r\nConnection: X-Bar\r\nX-Bar: 1\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n"
    head, visitor = stage.exchange(sent, answer)
    assert fields_of(head).keys() == {b"host", b"x-preview-hops"}
    fields = visitor.answer()[1]
    assert fields.keys() == {b"content-length", b"origin-agent-cluster", b"x-robots-tag"}


def test_one_connection_each_serves_many_requests(stage: Stage) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    for _ in range(5):
        app.head()
        app.send(OK)
        assert visitor.answer()[2] == b"hello"
        visitor.send(GET)
    assert stage.resolved == [HOST] and stage.no_connection()


def test_a_body_of_known_length_passes_as_it_is(stage: Stage) -> None:
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: 10") + b"01234")
    app = stage.accept()
    assert fields_of(app.head())[b"content-length"] == b"10"
    assert app.read(5) == b"01234"
    visitor.send(b"56789")
    assert app.read(5) == b"56789"
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


def test_an_empty_body_keeps_its_length(stage: Stage) -> None:
    head, visitor = stage.exchange(request(b"POST / HTTP/1.1", b"Content-Length: 0"))
    assert fields_of(head)[b"content-length"] == b"0"
    assert visitor.answer()[0] == 200


def test_chunked_both_ways_is_framed_anew_and_loses_its_trailers(stage: Stage) -> None:
    sent = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked")
    visitor = stage.visitor(sent + b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n")
    app = stage.accept()
    assert fields_of(app.head())[b"transfer-encoding"] == b"chunked"
    assert app.chunked() == b"abcde"
    app.send(CHUNKED_OK)
    assert visitor.answer()[2] == b"hello world"
    visitor.send(GET)
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


def test_an_answer_that_ends_with_its_connection_is_framed_and_the_visitor_stays(stage: Stage) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhel")
    app.send(b"lo")
    app.close()
    assert visitor.answer()[2] == b"hello"
    visitor.send(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"500"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", b"500"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
    ],
    ids=["head", "head-chunked", "304", "204", "204-with-length"],
)
def test_answers_without_a_body(stage: Stage, method: bytes, answer: bytes, length: bytes | None) -> None:
    visitor = stage.visitor(request(method + b" / HTTP/1.1"))
    app = stage.accept()
    for _ in range(2):
        app.head()
        app.send(answer)
        fields = fields_of(visitor.head())
        assert fields.get(b"content-length") == length and b"transfer-encoding" not in fields
        visitor.send(request(method + b" / HTTP/1.1"))
    assert stage.no_connection()


def test_the_apps_own_100_reaches_the_visitor_and_none_is_made(stage: Stage) -> None:
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-continue"))
    app = stage.accept()
    assert fields_of(app.head())[b"expect"] == b"100-continue"
    assert visitor.quiet()
    app.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert visitor.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    visitor.send(b"12345")
    assert app.read(5) == b"12345"
    app.send(OK)
    assert visitor.answer()[0] == 200


def test_a_413_instead_of_a_100_reaches_the_visitor(stage: Stage) -> None:
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-continue"))
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    status, fields, body = visitor.answer()
    assert (status, fields[b"connection"], body) == (413, b"close", b"big")
    assert visitor.rest() == b"" and app.rest() == b""


def test_early_hints_pass(stage: Stage) -> None:
    _, visitor = stage.exchange(GET, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK)
    assert visitor.head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    assert visitor.answer()[2] == b"hello"


def test_an_old_visitor_gets_no_interim_answer_and_no_chunks(stage: Stage) -> None:
    sent = b"GET / HTTP/1.0\r\nHost: " + HOST + b"\r\n\r\n"
    head, visitor = stage.exchange(sent, b"HTTP/1.1 103 Early Hints\r\n\r\n" + CHUNKED_OK)
    assert head.startswith(b"GET / HTTP/1.1\r\n")
    answer = visitor.rest()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
    assert answer.endswith(b"\r\n\r\nhello world") and b"chunked" not in answer


def test_an_old_visitor_can_keep_its_connection(stage: Stage) -> None:
    sent = b"GET / HTTP/1.0\r\nHost: " + HOST + b"\r\nConnection: keep-alive\r\n\r\n"
    visitor = stage.visitor(sent)
    app = stage.accept()
    for _ in range(2):
        app.head()
        app.send(OK)
        _, fields, body = visitor.answer()
        assert (fields[b"connection"], body) == (b"keep-alive", b"hello")
        visitor.send(sent)


def test_a_visitor_who_asks_for_it_is_closed(stage: Stage) -> None:
    _, visitor = stage.exchange(request(b"GET / HTTP/1.1", b"Connection: close"))
    assert visitor.answer()[1][b"connection"] == b"close"
    assert visitor.rest() == b""


def test_an_app_that_closes_is_asked_over_a_new_connection(stage: Stage) -> None:
    _, visitor = stage.exchange(
        GET, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
    )
    _, fields, _ = visitor.answer()
    assert b"connection" not in fields
    visitor.send(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[0] == 200


def test_heads_may_come_byte_by_byte_on_both_sides(stage: Stage) -> None:
    visitor = stage.visitor()
    for byte in request(b"POST /x HTTP/1.1", b"Content-Length: 2") + b"ab":
        visitor.send(bytes([byte]))
    app = stage.accept()
    assert app.head().startswith(b"POST /x HTTP/1.1\r\n") and app.read(2) == b"ab"
    for byte in CHUNKED_OK:
        app.send(bytes([byte]))
    assert visitor.answer()[2] == b"hello world"


@pytest.mark.parametrize("size", [7_000, 30_000, 60_000])
def test_big_heads_pass_both_ways(stage: Stage, size: int) -> None:
    big = b"X-Big: " + b"a" * size
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + big + b"\r\n\r\n"
    head, visitor = stage.exchange(request(b"GET / HTTP/1.1", big), answer)
    assert big + b"\r\n" in head and big + b"\r\n" in visitor.head()


def test_many_fields_pass(stage: Stage) -> None:
    fields = [b"X-%d: %d" % (i, i) for i in range(90)]
    head, _ = stage.exchange(request(b"GET / HTTP/1.1", *fields))
    assert all(field + b"\r\n" in head for field in fields)


def test_O15_a_head_that_is_too_big_is_431(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.send(request(b"GET / HTTP/1.1", b"Cookie: " + b"a" * 300_000))
    status, fields, _ = visitor.answer()
    assert (status, fields[b"connection"]) == (431, b"close")
    assert fields[b"clear-site-data"] == b'"cookies"'
    assert stage.no_connection()


def test_an_apps_head_that_is_too_big_is_502(stage: Stage) -> None:
    _, visitor = stage.exchange(GET, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000)
    assert visitor.answer()[0] == 502


def test_pipelined_requests_are_answered_in_order(stage: Stage) -> None:
    post = request(b"POST /post HTTP/1.1", b"Content-Length: 3") + b"abc"
    chunked = request(b"PUT /put HTTP/1.1", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
    visitor = stage.visitor(request(b"GET /get HTTP/1.1") + post + chunked + request(b"HEAD /head HTTP/1.1"))
    app = stage.accept()
    for line, body in (
        (b"GET /get", b""),
        (b"POST /post", b"abc"),
        (b"PUT /put", b"3"),
        (b"HEAD /head", b""),
    ):
        assert app.head().startswith(line)
        if line.startswith(b"PUT"):
            assert app.chunked() == b"abc"
        else:
            assert app.read(len(body)) == body
        app.send(b"HTTP/1.1 200 OK\r\nX-Line: " + line + b"\r\nContent-Length: 0\r\n\r\n")
        assert fields_of(visitor.head())[b"x-line"] == line


def test_five_hundred_pipelined_requests(stage: Stage) -> None:
    visitor = stage.visitor(b"".join(request(b"GET /%d HTTP/1.1" % i) for i in range(500)))
    app = stage.accept()
    for i in range(500):
        assert app.head().startswith(b"GET /%d HTTP" % i)
        app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%03d" % i)
    assert [visitor.answer()[2] for _ in range(500)] == [b"%03d" % i for i in range(500)]


def test_blank_lines_between_requests_are_skipped(stage: Stage) -> None:
    head, visitor = stage.exchange(b"\r\n\r\n" + GET)
    assert head.startswith(b"GET / ") and visitor.answer()[0] == 200


def test_an_answer_may_begin_before_the_upload_ends(stage: Stage) -> None:
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked") + b"2\r\nab\r\n")
    app = stage.accept()
    app.head()
    assert app.read(7) == b"2\r\nab\r\n"
    app.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nAB\r\n")
    visitor.head()
    assert visitor.read(7) == b"2\r\nAB\r\n"
    visitor.send(b"2\r\ncd\r\n0\r\n\r\n")
    assert app.chunked() == b"cd"
    app.send(b"2\r\nCD\r\n0\r\n\r\n")
    assert visitor.chunked() == b"CD" and visitor.rest() == b""


def test_another_host_on_the_same_connection_is_421_and_the_connection_goes_on(stage: Stage) -> None:
    visitor = stage.visitor(GET + request(b"GET / HTTP/1.1", host=b"api.test") + GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert [visitor.answer()[0] for _ in range(2)] == [200, 421]
    app.head()
    app.send(OK)
    assert visitor.answer()[0] == 200
    assert stage.resolved == [HOST, b"api.test"]


def test_a_request_for_others_takes_the_connection_along(stage: Stage) -> None:
    """A load balancer sends on one connection what is for a preview and what is not."""
    seen = bytearray()

    class Other(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            seen.extend(data)
            if seen.endswith(b"the end"):
                transport = cast(asyncio.Transport, self.transport)
                transport.write(b"others'")
                transport.close()

    visitor = stage.visitor(to=stage.call(stage.listen(lambda: stage.proxy(Other))))
    visitor.send(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[0] == 200
    asked = request(b"GET /v1?a=b HTTP/1.1", b"X-API-Key: k", host=b"api.test")
    with_body = request(b"POST / HTTP/1.1", b"Content-Length: 2", host=b"api.test")
    visitor.send(with_body + b"hi")
    assert visitor.answer()[0] == 421
    visitor.send(asked + b"what comes then, ")
    visitor.send(b"until the end")
    assert visitor.rest() == b"others'"
    head, _, rest = bytes(seen).partition(b"\r\n\r\n")
    assert (head + b"\r\n\r\n", rest) == (asked, b"what comes then, until the end")


def test_options_star_passes(stage: Stage) -> None:
    head, _ = stage.exchange(request(b"OPTIONS * HTTP/1.1"))
    assert head.startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_a_request_that_was_read_by_a_dispatcher_is_served(stage: Stage) -> None:
    """As a listener does that looks at the first bytes before it picks a protocol."""

    class Front(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            client = stage.proxy()
            cast(asyncio.Transport, self.transport).set_protocol(client)
            client.connection_made(self.transport)
            client.data_received(data)

    visitor = stage.visitor(GET, to=stage.call(stage.listen(Front)))
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"
    visitor.send(GET)
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"
