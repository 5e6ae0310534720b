"""How fast apps may answer, all connections to a sandbox together."""

import threading
import time

from gateway.dataplane.pace import Pace
from tests.gateway.dataplane.stage import GET, OK, Stage, Wire

_RATE, _SIZE = 2_000_000, 1_600_000
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _SIZE


def test_answers_together_come_at_the_pace_whole_and_what_follows_is_served(stage: Stage) -> None:
    stage.route.pace = Pace(_RATE)
    visitors = [stage.visitor(GET) for _ in range(3)]
    apps = [stage.accept() for _ in visitors]
    began = time.monotonic()
    answering = [threading.Thread(target=_answer, args=(app,)) for app in apps]
    for each in answering:
        each.start()
    for visitor in visitors:
        visitor.sock.settimeout(20)
        status, _, body = visitor.answer()
        assert (status, len(body)) == (200, _SIZE)
    for each in answering:
        each.join()
    # A second's worth is free; what is read at once may come on top of each.
    assert time.monotonic() - began > (3 * _SIZE - 3 * 262_144) / _RATE - 1.05
    visitors[0].send(GET)
    next(app for app in apps if _asked(app)).send(OK)
    assert visitors[0].answer()[2] == b"hello"


def test_a_visitor_who_leaves_meanwhile_harms_nobody(stage: Stage) -> None:
    stage.route.pace = Pace(100_000)
    leaving, app = stage.visitor(GET), stage.accept()
    app.head()
    app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 300_000)
    leaving.read(10_000)
    leaving.close()
    stage.until(lambda: not stage.route.busy)
    stage.route.pace = None
    _, visitor = stage.exchange(GET)
    assert visitor.answer()[0] == 200


def _answer(app: Wire) -> None:
    app.head()
    app.send(_HEAD + b"x" * _SIZE)


def _asked(app: Wire) -> bool:
    app.sock.settimeout(0.5)
    try:
        return bool(app.head())
    except TimeoutError:
        return False
