"""How much a hostile sandbox slows down the events of the others."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

from bench.figures import heading, ms, percentile, table
from bench.processes import Product, demo_model, product

_SECONDS = 8.0
_WARMING = 1.5
_PEACEFUL, _RATE = 2, 15
_VISITORS = 4
TARGET = 2.0
"""The p99 may be so many times the quiet one's."""

_FLOODS = {
    "nothing but its processors": ("spin",),
    "events, as large as may be": ("events",),
    "tiny posts, again and again": ("posts",),
    "its inbox, opened anew": ("inbox",),
    "model calls, short": ("calls",),
    "deltas of 4 model calls, watched": ("deltas",),
    "egress, refused or idle": ("egress",),
    "a preview without an end, visited": ("preview",),
    "all of these but the first": ("events", "posts", "inbox", "deltas", "egress", "preview"),
}


class Log(list[tuple[float, float]]):
    """When events were here, and how many seconds they took."""

    def between(self, begin: float, end: float) -> list[float]:
        return [taken for at, taken in list(self) if begin <= at <= end]


def measure() -> None:
    """Print the time from an event's POST in one sandbox to its frame on a client's stream, while another
    sandbox floods the server, beside the same just before it.
    """
    heading(
        "Floods from a sandbox, and the events of others",
        f"{_PEACEFUL} sandboxes say {_RATE} events a second each, {_SECONDS:g} s quietly, then in a flood.",
        "The first row takes nothing but the processors: where sandboxes have none of their own, as here,",
        f"that much is the machine's and not the gateway's. Target: the p99 at most {TARGET:g} times.",
    )
    rows = [["", "quiet p50", "p99", "flooded p50", "p99", "p50 ratio", "p99 ratio"]]
    with (
        demo_model() as model,
        product(model, "bench.spout_server", ["flood.py"]) as server,
        _peace(server) as log,
    ):
        rows += [[label, *_row(server, log, kinds)] for label, kinds in _FLOODS.items()]
    table(rows)


def _row(server: Product, log: Log, kinds: Sequence[str]) -> list[str]:
    quiet = _while(log)
    with _flood(server, kinds):
        time.sleep(_WARMING)
        flooded = _while(log)
    time.sleep(_WARMING)
    both = [(percentile(quiet, percent), percentile(flooded, percent)) for percent in (50, 99)]
    figures = [ms(both[0][0]), ms(both[1][0]), ms(both[0][1]), ms(both[1][1])]
    return [*figures, *(f"{after / before:.1f}" for before, after in both)]


def _while(log: Log) -> list[float]:
    begin = time.time()
    time.sleep(_SECONDS)
    return log.between(begin, time.time())


@contextmanager
def _peace(server: Product) -> Iterator[Log]:
    """Peaceful sandboxes, whose events are watched."""
    log, over = Log(), Event()

    def watch(session_id: str) -> None:
        for at, event in server.events(session_id):
            if "sent" in event:
                log.append((at, at - event["sent"]))
            if over.is_set():
                return

    sessions = [_begun(server, ("peace",)) for _ in range(_PEACEFUL)]
    with ThreadPoolExecutor(_PEACEFUL) as pool:
        watching = [pool.submit(watch, session) for session in sessions]
        try:
            time.sleep(_WARMING)
            yield log
        finally:
            over.set()
            for session in sessions:
                server.delete(session)
            for each in watching:
                each.result(30)


@contextmanager
def _flood(server: Product, kinds: Sequence[str]) -> Iterator[None]:
    session = _begun(server, kinds)
    with ExitStack() as stack:
        stack.callback(server.delete, session)
        if "deltas" in kinds:
            stream = f"{server.url}/v1/sessions/{session}/events?deltas=1"
            stack.enter_context(_reading(stream, "X-API-Key: " + server.http.headers["X-API-Key"]))
        if "preview" in kinds:
            name = server.http.get(f"/v1/sessions/{session}").json()["previewUrl"].partition("://")[2]
            stack.enter_context(_reading(server.url, f"Host: {name}"))
        yield


@contextmanager
def _reading(url: str, header: str) -> Iterator[None]:
    """Clients that read whatever comes, out of the way of what is measured."""
    command = ["nice", "-n", "15", "curl", "--silent", "--output", os.devnull, "--retry", "50"]
    command += ["--retry-all-errors", "--retry-delay", "1", "--noproxy", "*", "--header", header, url]
    clients = [subprocess.Popen(command) for _ in range(_VISITORS)]
    try:
        yield
    finally:
        for client in clients:
            client.kill()
            client.wait()


def _begun(server: Product, kinds: Sequence[str]) -> str:
    session: str = server.create(json.dumps({"kinds": kinds, "rate": _RATE}))["id"]
    server.send(session, "Begin.")
    return session
