"""Connections that die, are refused, revoked, stalled or counted, and who gets to know."""

import socket
import time
from collections.abc import Callable
from functools import partial

import pytest

from gateway.dataplane import Limits, Reason, Reply, Request, Route
from tests.gateway.dataplane.stage import GET, HOST, OK, Stage, Wire, request

POST = request(b"POST / HTTP/1.1", b"Content-Length: 4") + b"once"

_limits = partial(Limits, look_seconds=0.05)


def _warm(stage: Stage) -> tuple[Wire, Wire]:
    """A visitor and the app with one idle connection between them."""
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[0] == 200
    return visitor, app


def _slam(wire: Wire) -> None:
    """Close with a RST."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.close()


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_stale_pooled_connection_is_replaced_for_a_get(stage: Stage, how: str) -> None:
    visitor, app = _warm(stage)
    visitor.send(GET)
    app.head()
    app.close() if how == "fin" else _slam(app)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[2] == b"hello"


def test_a_get_is_sent_again_only_once(stage: Stage) -> None:
    visitor, app = _warm(stage)
    visitor.send(GET)
    app.head()
    app.close()
    app = stage.accept()
    app.head()
    app.close()
    assert visitor.answer()[0] == 502
    assert stage.no_connection()


def test_a_post_is_never_sent_twice(stage: Stage) -> None:
    visitor, app = _warm(stage)
    visitor.send(POST)
    app.head()
    assert app.read(4) == b"once"
    app.close()
    assert visitor.answer()[0] == 502
    assert stage.no_connection()


def test_a_get_whose_answer_began_is_not_sent_again(stage: Stage) -> None:
    visitor, app = _warm(stage)
    visitor.send(GET)
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\nConte")
    app.close()
    assert visitor.answer()[0] == 502
    assert stage.no_connection()


def test_a_closed_idle_connection_is_not_used_for_a_post(stage: Stage) -> None:
    visitor, app = _warm(stage)
    app.close()
    stage.until(lambda: not stage.route._idle)
    visitor.send(POST)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[0] == 200


def test_idle_connections_to_the_app_are_closed_before_the_app_does(stage: Stage) -> None:
    _, app = _warm(stage)
    stage.do(lambda: stage.route.sweep(stage.proxy.clock() + 4.1))
    assert app.rest() == b""


def test_when_nothing_listens_the_route_answers(stage: Stage) -> None:
    stage.stop_listening()
    visitor = stage.visitor(GET + POST)
    assert [visitor.answer()[0] for _ in range(2)] == [502, 502]
    assert stage.refusals == [Reason.NOTHING_LISTENS] * 2


def test_an_early_413_survives_the_upload_that_nobody_reads(stage: Stage) -> None:
    size = 20_000_000
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: %d" % size))
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    app.close()
    stage.until(lambda: not stage.route.busy)
    visitor.send(b"x" * 3_000_000)
    status, fields, body = visitor.answer()
    assert (status, fields[b"connection"], body) == (413, b"close", b"big")
    visitor.send(b"x" * 1_000_000)
    assert visitor.rest() == b""


def test_a_502_of_ours_survives_the_upload_that_nobody_reads(stage: Stage) -> None:
    stage.stop_listening()
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: 20000000"))
    visitor.send(b"x" * 5_000_000)
    assert visitor.answer()[0] == 502


def test_what_lingers_after_an_early_answer_ends_in_time(stages: Callable[..., Stage]) -> None:
    stage = stages(limits=_limits(linger_seconds=0.0))
    visitor = stage.visitor(b"NONSENSE\r\n\r\n")
    assert visitor.answer()[0] == 400
    stage.until(lambda: not stage.proxy._clients)


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nhello",
    ],
    ids=["length", "between-chunks", "in-a-chunk"],
)
def test_a_body_that_the_app_cuts_is_cut_for_the_visitor(stage: Stage, begun: bytes) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(begun)
    visitor.head()
    app.close()
    rest = visitor.rest()
    assert rest.replace(b"5\r\n", b"").startswith(b"hello") and not rest.endswith(b"0\r\n\r\n")


def test_a_body_that_the_app_cuts_is_reset_for_an_old_visitor(stage: Stage) -> None:
    visitor = stage.visitor(b"GET / HTTP/1.0\r\nHost: " + HOST + b"\r\n\r\n")
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    visitor.head()
    assert visitor.read(5) == b"hello"
    app.close()
    with pytest.raises(ConnectionResetError):
        visitor.read(1)


def test_an_answer_without_an_end_that_is_reset_is_cut_for_the_visitor(stage: Stage) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    visitor.head()
    assert visitor.read(10) == b"5\r\nhello\r\n"
    _slam(app)
    assert visitor.rest() == b""


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_visitor_who_aborts_an_upload_cuts_it_for_the_app(stage: Stage, how: str) -> None:
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: 10") + b"hello")
    app = stage.accept()
    app.head()
    assert app.read(5) == b"hello"
    visitor.close() if how == "fin" else _slam(visitor)
    assert app.rest() == b""


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n\r\nhello"], ids=["waiting", "in-download"])
def test_a_visitor_who_aborts_is_gone_for_the_app_at_once(stage: Stage, begun: bytes) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    app.send(begun)
    if begun:
        visitor.head()
    visitor.close()
    since = time.monotonic()
    assert app.rest() == b""
    assert time.monotonic() - since < 3


def test_a_visitor_who_leaves_while_connecting_leaves_nothing_behind(stages: Callable[..., Stage]) -> None:
    stage = stages()
    visitors = [stage.visitor(GET) for _ in range(20)]
    for visitor in visitors:
        visitor.close()
    stage.until(lambda: not stage.proxy._clients and not stage.route.busy and not stage.route.waiting)


def test_revocation_cuts_streams_and_answers_those_who_wait(stage: Stage) -> None:
    idle, streaming = _warm(stage)
    stream = stage.visitor(GET)
    streaming.head()
    streaming.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    stream.head()
    assert stream.read(14) == b"9\r\ndata: 1\n\n\r\n"
    waits = stage.visitor(GET)
    app = stage.accept()
    app.head()
    stage.do(stage.route.close)
    assert stream.rest() == b"" and streaming.rest() == b"" and app.rest() == b""
    assert waits.answer()[0] == 410
    idle.send(GET)
    assert idle.answer()[0] == 410
    assert stage.refusals == [Reason.GONE] and stage.no_connection()


def test_a_route_that_closes_while_it_is_looked_up_opens_nothing(stage: Stage) -> None:
    resolve = stage.proxy._resolve

    async def closes(request: Request) -> Route | Reply:
        route = await resolve(request)
        stage.route.close()
        return route

    stage.do(lambda: setattr(stage.proxy, "_resolve", closes))
    visitor = stage.visitor(GET)
    assert visitor.answer()[0] == 410
    assert stage.no_connection()


def test_a_new_route_of_the_same_host_is_taken_after_revocation(stage: Stage) -> None:
    visitor, _ = _warm(stage)
    stage.do(stage.route.close)
    stage.do(stage.new_route)
    visitor.send(GET)
    app = stage.accept()
    app.head()
    app.send(OK)
    assert visitor.answer()[0] == 200


def test_connections_to_one_port_are_bounded_and_an_idle_one_makes_room(stages: Callable[..., Stage]) -> None:
    stage = stages(connections=2)
    _, first = _warm(stage)
    stage.do(lambda: setattr(stage.route._idle[0], "idle_since", 0.0))
    one, two, three = (stage.visitor() for _ in range(3))
    one.send(GET)
    stage.accept().head()
    two.send(GET)
    stage.accept().head()
    assert first.rest() == b""
    three.send(GET)
    status, fields, _ = three.answer()
    assert (status, fields[b"retry-after"]) == (503, b"1")
    assert stage.refusals == [Reason.CROWDED]


def test_O40_a_head_that_drips_is_408_and_others_are_served(stages: Callable[..., Stage]) -> None:
    stage = stages(limits=_limits(head_seconds=0.5))
    slow = [stage.visitor(b"GET / HTTP/1.1\r\nHost: x\r\n") for _ in range(50)]
    silent = stage.visitor()
    visitor, _ = _warm(stage)
    assert all(wire.answer()[0] == 408 and wire.rest() == b"" for wire in slow)
    assert silent.rest() == b""
    visitor.send(GET)


def test_an_idle_visitor_is_closed(stages: Callable[..., Stage]) -> None:
    stage = stages(limits=_limits(idle_seconds=0.1))
    visitor, _ = _warm(stage)
    assert visitor.rest() == b""


def test_an_upload_that_stalls_is_ended(stages: Callable[..., Stage]) -> None:
    stage = stages(limits=_limits(stall_seconds=0.2))
    visitor = stage.visitor(request(b"POST / HTTP/1.1", b"Content-Length: 10") + b"hello")
    app = stage.accept()
    app.head()
    assert visitor.answer()[0] == 504
    assert app.rest() == b"hello"


def test_an_app_that_never_answers_is_504(stages: Callable[..., Stage]) -> None:
    stage = stages(limits=_limits(answer_seconds=0.2))
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    assert visitor.answer()[0] == 504
    assert app.rest() == b""


def test_a_visitor_who_stops_reading_is_ended(stages: Callable[..., Stage]) -> None:
    stage = stages(limits=_limits(stall_seconds=0.5))
    visitor = stage.visitor(GET, buffer=4096)
    app = stage.accept()
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            app.send(b"x" * 1_000_000)
    assert len(visitor.rest()) < 50_000_000


def test_shutdown_finishes_what_is_under_way_and_closes_what_idles(stage: Stage) -> None:
    idle, app = _warm(stage)
    busy = stage.visitor(POST)
    app.head()

    def begin() -> None:
        stage.closing = stage._loop.create_task(stage.proxy.shutdown(5))  # type: ignore[attr-defined]

    stage.do(begin)
    assert idle.rest() == b""
    app.send(OK)
    _, fields, body = busy.answer()
    assert (fields[b"connection"], body) == (b"close", b"hello")
    stage.until(lambda: stage.closing.done())  # type: ignore[attr-defined]


def test_shutdown_cuts_what_outlasts_it(stage: Stage) -> None:
    visitor = stage.visitor(GET)
    app = stage.accept()
    app.head()
    stage.call(stage.proxy.shutdown(0.1))
    assert visitor.rest() == b"" and app.rest() == b""


def test_an_error_of_the_resolver_is_500_and_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(request: object) -> object:
        raise LookupError("store")

    stage.do(lambda: setattr(stage.proxy, "_resolve", fails))
    visitor = stage.visitor(GET)
    assert visitor.answer()[0] == 500
    assert "LookupError: store" in caplog.text
