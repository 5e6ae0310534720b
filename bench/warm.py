"""A session that takes a sandbox of the warm pool, one that waits for its own, and the bare SDK."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from bench.figures import heading, median, ms, table
from bench.processes import REPOSITORY, Product, demo_model, folder, product
from bench.turns import CONFIG, Moments, assignment

_ROUNDS, _IDLE = 9, 4.0
_TARGET, _RATIO = 1.5, 1.2
_PROMPT = "Make a text file that says hello"
_STEPS = ("posted", "answered", "configured", "ready", "init", "assistant", "seen")
_NAMES = {
    "answered": "the POST is answered",
    "configured": "configured (the sandbox has its assignment)",
    "ready": "ready (the agent's program has it)",
    "init": "system init (it takes the prompt)",
    "assistant": "assistant (the model's first answer)",
    "seen": "the same on the client's stream",
}


def measure() -> None:
    """Print, as medians of rounds in turn, the time from a create (with a system prompt and a skill) to the
    first words of the agent on the client's stream: with a warm pool of one, and without.

    Beside them the Claude Agent SDK alone, without sandbox or service: its program connected and idle for as
    long as a spare is, from `query` to the first AssistantMessage. All use one demo model on the loopback,
    which does not pause; so this is the time that is ours. A real model takes a second or more by itself.
    """
    heading("Warm starts", f"Medians of {_ROUNDS} rounds in turn, local mode, pool of one.")
    warm, cold, bare = [], [], []
    with (
        demo_model() as model,
        product(model) as waiting,
        product(model, OPENSESSIONS_WARM_POOL="1") as pooled,
    ):
        for _ in range(_ROUNDS):
            spare = _until(lambda: _ready(pooled.data))
            time.sleep(_IDLE)  # as it would: whatever it does after it has started is done by then
            warm.append(_created(pooled, spare))
            cold.append(_created(waiting, None))
            bare.append(_alone(model))
    _print(warm, cold, bare)


def _created(server: Product, spare: str | None) -> Moments:
    moments = {"posted": time.time()}
    session = server.create(_PROMPT, **CONFIG)
    moments["answered"] = time.time()
    if spare is not None and session["sandboxId"] != spare:
        raise RuntimeError("The session did not take the spare.")
    moments |= _told(server.events(session["id"]))
    server.delete(session["id"])
    return moments


def _told(stream: Iterator[tuple[float, dict[str, str]]]) -> Moments:
    """When the service recorded the first event of each kind, and when the first words were here."""
    moments: Moments = {}
    for at, event in stream:
        kind = event.get("subtype", "") if event["type"] == "system" else event["type"]
        moments.setdefault(kind, datetime.fromisoformat(event["createdAt"]).timestamp())
        if kind == "assistant":
            return moments | {"seen": at}
        if kind == "error":
            raise RuntimeError(f"The session failed: {event}")
    raise RuntimeError("The stream ended before the turn.")


def _alone(model_url: str) -> Moments:
    with folder() as root:
        python = REPOSITORY / ".venv-sandbox/bin/python"
        answer = subprocess.run(
            [python, "-m", "bench.bare", model_url, root, "Thanks", str(_IDLE)],
            cwd=REPOSITORY, input=json.dumps(assignment(_PROMPT)), stdout=subprocess.PIPE, text=True,
            timeout=120, check=True,
        )  # fmt: skip
    moments: Moments = json.loads(answer.stdout.splitlines()[-1])
    return moments


def _ready(data: Path) -> str | None:
    """The sandbox that waits, if it is ready."""
    with closing(sqlite3.connect(f"file:{data}/sessions.db?mode=ro", uri=True)) as db:
        spares = [json.loads(body) for (body,) in db.execute("SELECT body FROM spare")]
    return next((spare["sandbox_id"] for spare in spares if spare["state"] == "ready"), None)


def _until(ask: Callable[[], str | None], seconds: float = 120) -> str:
    deadline = time.monotonic() + seconds
    while (answer := ask()) is None:
        if time.monotonic() > deadline:
            raise RuntimeError("The pool is not ready.")
        time.sleep(0.1)
    return answer


def _print(warm: list[Moments], cold: list[Moments], bare: list[Moments]) -> None:
    rows = [["up to", "warm: step", "since POST", "cold: step", "since POST"]]
    for before, after in pairwise(_STEPS):
        shown = [ms(_median(runs, start, after)) for runs in (warm, cold) for start in (before, "posted")]
        rows.append([_NAMES[after], *shown])
    table(rows)
    mine, own, alone = _median(warm, *_SPAN), _median(cold, *_SPAN), _median(bare, "asked", "assistant")
    taken = [run["seen"] - run["posted"] for run in warm]
    print(
        f"\nCreate to first agent event: warm {mine:.2f} s ({min(taken):.2f} to {max(taken):.2f}), cold"
        f" {own:.2f} s: {own / mine:.1f} times faster.\n{_verdict(mine, _TARGET)} the target of {_TARGET} s."
        f"\nThe bare SDK, warm, from query to its first words: {alone:.2f} s. Ratio {mine / alone:.2f},"
        f" {_verdict(mine / alone, _RATIO).lower()} {_RATIO}; {ms(mine - alone)} are the service's and the"
        f" sandbox's."
    )


_SPAN = ("posted", "seen")


def _median(runs: list[Moments], start: str, end: str) -> float:
    return median(run[end] - run[start] for run in runs)


def _verdict(value: float, target: float) -> str:
    return "Within" if value <= target else "Over"
