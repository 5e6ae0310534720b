"""Two turns through the product beside the same turns by the bare Claude Agent SDK."""

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

from bench.bare import PAUSE
from bench.figures import heading, median, ms, table
from bench.processes import REPOSITORY, Product, demo_model, folder, product

_ROUNDS = 7
_PROMPT = "Build a todo app with Next.js and Tailwind on port {port}"
_FOLLOW_UP = "Make the header blue and dark"
CONFIG: Mapping[str, Any] = {
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
    """Print, as medians, for the documented create (with a system prompt and a skill) and a follow-up:

    - until the first event of the agent (`assistant`): from sending the POST to having the frame on the SSE
      stream; for the bare SDK, from `connect`, or the follow-up's `query`, to its first AssistantMessage
    - until `turn_complete`; for the bare SDK, its ResultMessage
    - where the time goes until the first event, by the times at which the service recorded the events

    Both use one demo model on the loopback, which does not pause, the same options and program. The bare SDK
    is timed twice in one run: in a process that has imported it already, and from the start of a new process,
    which is what the product always has. The bare one has no sandbox, and no one else can see its events.
    """
    heading("Turns beside the bare Claude Agent SDK", f"Medians of {_ROUNDS} rounds in turn.")
    ours, bare = [], []
    with demo_model() as model, product(model) as server:
        for _ in range(_ROUNDS):
            ours.append(_through_product(server))
            bare.append(_bare(model))
    _compare(ours, bare)
    _print_steps(ours)


def _compare(ours: list[Moments], bare: list[Moments]) -> None:
    rows = [["until", "product", "SDK, imported", "ratio", "SDK, new process", "ratio"]]
    for label, end, bare_end in (
        ("first agent event", "seen", "assistant"),
        ("turn_complete", "turn_complete", "complete"),
    ):
        mine, warm = _median(ours, "posted", end), _median(bare, "connecting", bare_end)
        cold = _median(bare, "spawned", bare_end)
        rows.append([label, ms(mine), ms(warm), f"{mine / warm:.2f}", ms(cold), f"{mine / cold:.2f}"])
        mine, warm = (
            _median(ours, "posted again", f"{end} again"),
            _median(bare, "asked again", f"{bare_end} again"),
        )
        rows.append([f"{label}, follow-up", ms(mine), ms(warm), f"{mine / warm:.2f}", "", ""])
    table(rows)


def _median(runs: list[Moments], start: str, end: str) -> float:
    return median(run[end] - run[start] for run in runs)


def _print_steps(ours: list[Moments]) -> None:
    print("\n  Where the product's time goes: from each event to the next, and since the POST")
    rows = [["up to", "step", "since POST"]]
    for before, after in pairwise(("posted", *_STEPS)):
        step, since = _median(ours, before, after), _median(ours, "posted", after)
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
    session = server.create(_PROMPT.format(port=_free_port()), **CONFIG)
    stream = server.events(session["id"])
    moments |= _turn(stream)
    time.sleep(PAUSE)
    moments["posted again"] = time.time()
    server.send(session["id"], _FOLLOW_UP)
    moments |= {f"{name} again": at for name, at in _turn(stream).items()}
    server.delete(session["id"])
    return moments


def _turn(stream: Iterator[tuple[float, dict[str, Any]]]) -> Moments:
    """When the service recorded the first event of each type, up to `turn_complete`; that, and the first
    `assistant` as `seen`, by when they were here.
    """
    moments: Moments = {}
    for at, event in stream:
        kind = event["type"]
        moments.setdefault(kind, datetime.fromisoformat(event["createdAt"]).timestamp())
        if kind == "assistant":
            moments.setdefault("seen", at)
        elif kind == "error":
            raise RuntimeError(f"The product's turn failed: {event}")
        elif kind == "turn_complete":
            return moments | {kind: at}
    raise RuntimeError("The stream ended before the turn.")


def _bare(model_url: str) -> Moments:
    with folder() as root:
        moments = {"spawned": time.time()}
        python = REPOSITORY / ".venv-sandbox/bin/python"
        process = subprocess.Popen(
            [python, "-m", "bench.bare", model_url, root, _FOLLOW_UP],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            told = json.dumps(assignment(_PROMPT.format(port=_free_port())))
            answer, _ = process.communicate(told, timeout=120)
        finally:
            process.kill()
            _end_those_in(root)
    if process.returncode:
        raise RuntimeError(f"The bare turn ended with status {process.returncode}.")
    moments.update(json.loads(answer.splitlines()[-1]))
    return moments


def assignment(prompt: str) -> dict[str, Any]:
    """What the bare SDK is to do, as a sandbox is told it."""
    return {
        "session_id": "bare", "message_id": "bare", "prompt": prompt,
        "tools": _TOOLS, "preview_url": "http://sb-0-p{port}.preview.localhost:8000", **CONFIG,
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
