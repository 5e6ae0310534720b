"""How long an event is on its way from a sandbox to a client's event stream."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any

from bench.figures import heading, ms, percentile, table
from bench.processes import Product, product


@dataclass(frozen=True)
class Load:
    """`sandboxes` at once, each saying `count` events, `rate` a second, `batch` in one POST (0: its outbox
    decides).
    """

    label: str
    sandboxes: int
    rate: float
    count: int
    batch: int


_LOADS = (
    Load("posted one by one, 50/s", 4, 12.5, 250, 1),
    Load("posted in batches of 20, 200/s", 2, 100, 1000, 20),
    Load("put into the outbox, an agent's pace, 16/s", 8, 2, 50, 0),
    Load("put into the outbox, 200/s", 2, 100, 1000, 0),
)


def measure() -> None:
    """Print the time from an event's POST, or from its way into the worker's outbox, to its frame on the SSE
    stream of a client, with one client per session.

    All of the way is the product's: a sandbox in its walls, the gateway's socket, the relay, the callback,
    SQLite, the hub, and the public port. Only the program in the sandbox is a script of this bench's instead
    of the worker, because events must carry the time; it uses the worker's own outbox. The outbox holds
    events back to send fewer requests: at once after a quiet 100 ms, up to 500 ms while they come fast.
    """
    heading("Events, from the sandbox to the client's event stream")
    rows = [["", "sandboxes", "events", "p50", "p99", "longest"]]
    for load in _LOADS:
        with product("http://127.0.0.1:9", "bench.spout_server") as server:
            taken = _run(server, load)
        worst = ms(max(taken))
        figures = (ms(percentile(taken, 50)), ms(percentile(taken, 99)), worst)
        rows.append([load.label, str(load.sandboxes), str(len(taken)), *figures])
    table(rows)


def _run(server: Product, load: Load) -> list[float]:
    """Seconds of every event."""
    work = json.dumps({"rate": load.rate, "count": load.count, "batch": load.batch})
    sessions = [server.create(work)["id"] for _ in range(load.sandboxes)]
    ready = Barrier(load.sandboxes, timeout=60)
    try:
        with ThreadPoolExecutor(load.sandboxes) as pool:
            watching = [pool.submit(_watch, server, each, load.count, ready.wait) for each in sessions]
            return [seconds for one in watching for seconds in one.result()]
    finally:
        for session in sessions:
            server.delete(session)


def _watch(server: Product, session: str, count: int, together: Callable[[], Any]) -> list[float]:
    taken: list[float] = []
    for at, event in server.events(session):
        if event["type"] == "session_started":  # the stream is open: the events may come
            together()
            server.send(session, "Begin.")
        elif event["type"] == "error":
            raise RuntimeError(f"The sandbox failed: {event['message']}")
        elif "sent" in event:
            taken.append(at - event["sent"])
            if event["n"] != len(taken):
                raise RuntimeError(f"Event {event['n']} came as number {len(taken)}.")
            if len(taken) == count:
                return taken
    raise RuntimeError(f"The stream ended after {len(taken)} of {count} events.")
