"""O16: nobody's bytes become another's request or answer, whichever side tries."""

import pytest

from tests.gateway.dataplane.stage import GET, HOST, OK, Stage, fields_of, request
from tests.gateway.dataplane.test_chunks import BAD_CHUNKS
from tests.gateway.dataplane.test_heads import BAD_REQUESTS, BAD_RESPONSES

_ENDLESS = ("endless-size-line", "endless-trailers")


@pytest.mark.parametrize("head", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_O16_a_bad_head_is_400_and_closes_and_no_app_sees_it(stage: Stage, head: bytes) -> None:
    visitor = stage.visitor(
        head.replace(b"Host: a\r\n", b"Host: " + HOST + b"\r\n", 1) + b"GET /smuggled" + GET
    )
    status, fields, _ = visitor.answer()
    assert (status, fields[b"connection"]) == (400, b"close")
    assert visitor.rest() == b""
    assert not stage.route.busy


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_O16_a_bad_chunk_of_an_upload_is_400_and_the_app_gets_no_whole_request(
    stage: Stage, body: bytes
) -> None:
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked"))
    app = stage.accept()
    app.head()
    visitor.send(body)
    assert visitor.answer()[0] == 400
    assert visitor.rest() == b""
    assert not app.rest().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("answer", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_O16_a_bad_answer_is_502_and_the_next_visitor_gets_his_own(stage: Stage, answer: bytes) -> None:
    _, visitor = stage.exchange(GET, answer + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert visitor.answer()[0] == 502
    visitor.send(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_O16_a_bad_chunk_of_an_answer_is_cut_visibly(stage: Stage, body: bytes) -> None:
    _, visitor = stage.exchange(GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert not visitor.rest().endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "surplus",
    [OK, b"x", b"HTTP/1.1 200 OK\r\n", b"\r\n"],
    ids=["second-answer", "byte", "half-a-head", "blank-line"],
)
@pytest.mark.parametrize("when", ["at-once", "while-idle"])
def test_O16_what_an_app_says_unasked_reaches_nobody(stage: Stage, surplus: bytes, when: str) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(OK.replace(b"hello", b"first") + (surplus if when == "at-once" else b""))
    assert visitor.answer()[2] == b"first"
    if when == "while-idle":
        app.send(surplus)
    assert app.rest() == b""
    other = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert other.answer()[2] == b"hello"
    visitor.send(GET)
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
    ids=["upgrade", "bare"],
)
def test_M3_a_101_that_nobody_asked_for_is_502(stage: Stage, answer: bytes) -> None:
    _, visitor = stage.exchange(GET, answer + OK)
    assert visitor.answer()[0] == 502


def test_M3_a_101_to_another_protocol_than_asked_is_502(stage: Stage) -> None:
    sent = request(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket")
    _, visitor = stage.exchange(sent, b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert visitor.answer()[0] == 502


def test_O18_h2c_is_stripped(stage: Stage) -> None:
    sent = request(
        b"GET / HTTP/1.1",
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABk",
    )
    head, visitor = stage.exchange(sent)
    assert fields_of(head).keys() == {b"host", b"x-preview-hops"}
    assert visitor.answer()[0] == 200


def test_a_204_with_a_body_passes_none_of_it(stage: Stage) -> None:
    _, visitor = stage.exchange(GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")
    assert b"content-length" not in fields_of(visitor.head())
    visitor.send(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


def test_endless_interim_answers_end(stage: Stage) -> None:
    _, visitor = stage.exchange(GET, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
    heads = [visitor.head()]
    while heads[-1].startswith(b"HTTP/1.1 103 "):
        heads.append(visitor.head())
    assert heads[-1].startswith(b"HTTP/1.1 502 ") and len(heads) < 100
