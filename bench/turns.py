"""A first turn through the product beside the same turn by the bare Claude Agent SDK."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.figures import heading, median, ms, table
from bench.processes import REPOSITORY, Product, demo_model, folder, product

_ROUNDS = 7
_PROMPT = "Build a todo app with Next.js and Tailwind on port {port}"
_CONFIG: Mapping[str, Any] = {
    "system_prompt": "You are a careful builder of small web apps.",
    "skills": {".claude/skills/build-app/SKILL.md": "# Build app\n\nAlways start a dev server.\n"},
}
_TOOLS = ["Bash", "Read", "Write", "Edit", "Glob", "Grep"]
_STEPS = (
    "session_started", "sandbox_ready", "configured", "ready", "turn_started", "system", "assistant", "seen",
    "turn_complete",
)  # fmt: skip
Moments = dict[str, float]


def measure() -> None:
    """Print three figures for the documented create (with a system prompt and a skill), each a median:

    - until the first event of the agent (`assistant`): from sending the POST to having the frame on the SSE
      stream; for the bare SDK, from `connect` to its first AssistantMessage
    - until `turn_complete`; for the bare SDK, its ResultMessage
    - where the time goes until the first event, by the times at which the service recorded the events

    Both use one demo model on the loopback, which does not pause, the same options and program. The bare SDK
    is timed twice in one run: in a process that has imported it already, and from the start of a new process,
    which is what the product always has. The bare one has no sandbox, and no one else can see its events.
    """
    ours, bare = [], []
    with demo_model() as model, product(model) as server:
        for _ in range(_ROUNDS):
            ours.append(_through_product(server))
            bare.append(_bare(model))
    heading("A first turn, beside the bare Claude Agent SDK", f"Medians of {_ROUNDS} rounds in turn.")
    _compare(ours, bare)
    _print_steps(ours)


def _compare(ours: list[Moments], bare: list[Moments]) -> None:
    rows = [["until", "product", "SDK, imported", "ratio", "SDK, new process", "ratio"]]
    for label, end, bare_end in (
        ("first agent event", "seen", "assistant"),
        ("turn_complete", "turn_complete", "complete"),
    ):
        mine = median(run[end] - run["posted"] for run in ours)
        warm = median(run[bare_end] - run["connecting"] for run in bare)
        cold = median(run[bare_end] - run["spawned"] for run in bare)
        rows.append([label, ms(mine), ms(warm), f"{mine / warm:.2f}", ms(cold), f"{mine / cold:.2f}"])
    table(rows)


def _print_steps(ours: list[Moments]) -> None:
    print("\n  Where the product's time goes: from each event to the next, and since the POST")
    rows = [["up to", "step", "since POST"]]
    for before, after in pairwise(("posted", *_STEPS)):
        step = median(run[after] - run[before] for run in ours)
        since = median(run[after] - run["posted"] for run in ours)
        rows.append([_NAMES.get(after, after), ms(step), ms(since)])
    table(rows)


_NAMES = {
    "sandbox_ready": "sandbox_ready (walls, Python, worker)",
    "configured": "configured (the SDK's import, inbox)",
    "ready": "ready (the agent's program starts)",
    "system": "system init (it takes the prompt)",
    "assistant": "assistant (the model's first answer)",
    "seen": "the same on the client's stream",
}


def _through_product(server: Product) -> Moments:
    moments = {"posted": time.time()}
    session = server.create(_PROMPT.format(port=_free_port()), **_CONFIG)
    for at, event in server.events(session["id"]):
        moments.setdefault(event["type"], datetime.fromisoformat(event["createdAt"]).timestamp())
        if event["type"] == "assistant":
            moments.setdefault("seen", at)
        if event["type"] == "error":
            raise RuntimeError(f"The product's turn failed: {event}")
        if event["type"] == "turn_complete":
            moments["turn_complete"] = at
            break
    server.delete(session["id"])
    return moments


def _bare(model_url: str) -> Moments:
    with folder() as root:
        moments = {"spawned": time.time()}
        process = subprocess.Popen(
            [str(REPOSITORY / ".venv-sandbox/bin/python"), "-m", "bench.bare", model_url, str(root)],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            answer, _ = process.communicate(json.dumps(_assignment()), timeout=120)
        finally:
            process.kill()
            _end_those_in(root)
    if process.returncode:
        raise RuntimeError(f"The bare turn ended with status {process.returncode}.")
    moments.update(json.loads(answer.splitlines()[-1]))
    return moments


def _assignment() -> dict[str, Any]:
    return {
        "session_id": "bare", "message_id": "bare", "prompt": _PROMPT.format(port=_free_port()),
        "tools": _TOOLS, "preview_url": "http://sb-0-p{port}.preview.localhost:8000", **_CONFIG,
    }  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _end_those_in(root: Path) -> None:
    """End what the bare agent left running, as nothing else does: it works in this folder."""
    for pid, cwd in _working_folders():
        if cwd.is_relative_to(root):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _working_folders() -> Iterator[tuple[int, Path]]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                yield int(process.name), (process / "cwd").readlink()
