"""How long a caller waits for the answer to `POST /v1/sessions`."""

import time

from bench.figures import heading, median, ms, percentile, table
from bench.processes import Product, demo_model, product

TARGET = 0.1
_SERVERS = 2
_CREATES = 50
_FIRST = 2  # not counted: the server is new
_PROMPT = "Build a todo app with Next.js and Tailwind"


def measure() -> None:
    """Print the time from sending the request to having its whole answer, over a kept connection.

    Each request starts a real sandbox, which is deleted before the next. The account's quota of creates a
    minute is why the requests are shared among several servers.
    """
    count = _SERVERS * (_CREATES - _FIRST)
    heading("POST /v1/sessions, until its answer is here", f"{count} creates, one after the other")
    taken: list[float] = []
    with demo_model() as model:
        for _ in range(_SERVERS):
            with product(model) as server:
                taken += [_create(server) for _ in range(_CREATES)][_FIRST:]
    middle = median(taken)
    verdict = "within" if middle < TARGET else "OVER"
    table([["", "median", "p99", "longest"], ["POST", ms(middle), ms(percentile(taken, 99)), ms(max(taken))]])
    print(f"  The median is {verdict} the target of {ms(TARGET)}.")


def _create(server: Product) -> float:
    began = time.perf_counter()
    session = server.create(_PROMPT)
    taken = time.perf_counter() - began
    server.delete(session["id"])
    return taken
