"""A session that falls asleep, and one that is woken by a visit of its preview."""

import time
from itertools import pairwise

from bench.figures import heading, median, ms, table
from bench.processes import Product, demo_model, product
from bench.sessions import Moments, opened, told

ROUNDS, TARGET = 9, 5.0
_STEPS = ("asked", "woken", "sandbox_ready", "answers")
_NAMES = {
    "woken": "woken (the service takes it on)",
    "sandbox_ready": "sandbox_ready (walls, Python, worker)",
    "answers": "200 (unpacked, and the app's server answers)",
    "configured": "configured (unpacked, and the SDK imported)",
    "preview_ready": "preview_ready (its port was seen)",
    "ready": "ready (the agent's program, resumed)",
}


def measure() -> None:
    """Print, for the demo model's counter app in local mode, as medians of all rounds:

    - a wake: from the first request to the preview to its 200, asked for every 50 ms (the waiting page looks
      once a second), and when the service recorded the events on the way
    - a hibernation: from the call until the session says that it sleeps
    """
    heading("Sleeping and waking", f"Medians of {ROUNDS} rounds of one session, local mode, the demo app.")
    wakes: list[Moments] = []
    nights: list[float] = []
    with demo_model() as model, product(model) as server:
        session = server.create("Build a counter app")
        seq = told(server, session["id"], {"version_saved"})[1]
        page = opened(session["previewUrl"])[1]
        for _ in range(ROUNDS):
            slept, seq = _slept(server, session["id"], seq)
            nights.append(slept)
            moments, seq = _woken(server, session, seq, page)
            wakes.append(moments)
        server.delete(session["id"])
    _print(wakes, nights)


def _slept(server: Product, session_id: str, seq: int) -> tuple[float, int]:
    """Seconds from the call to `hibernated`, and that event's number."""
    called = time.time()
    server.http.post(f"/v1/sessions/{session_id}/hibernate").raise_for_status()
    moments, seq = told(server, session_id, {"hibernated"}, seq)
    return moments["hibernated"] - called, seq


def _woken(server: Product, session: dict[str, str], seq: int, page: str) -> tuple[Moments, int]:
    asked = time.time()
    answers, text = opened(session["previewUrl"])
    if text != page:
        raise RuntimeError("The preview is another than before.")
    moments, seq = told(server, session["id"], {"woken", "sandbox_ready", "preview_ready", "ready"}, seq)
    return moments | {"asked": asked, "answers": answers}, seq


def _print(wakes: list[Moments], nights: list[float]) -> None:
    rows = [["a wake, up to", "step", "since the visit"]]
    for before, after in pairwise(_STEPS):
        rows.append([_NAMES[after], ms(_median(wakes, before, after)), ms(_median(wakes, "asked", after))])
    for beside in ("configured", "preview_ready", "ready"):
        rows.append([f"beside it: {_NAMES[beside]}", "", ms(_median(wakes, "asked", beside))])
    table(rows)
    taken = [wake["answers"] - wake["asked"] for wake in wakes]
    verdict = "within" if median(taken) < TARGET else "over"
    print(
        f"\nFrom a visit to 200: {median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f}), {verdict} the"
        f" target of {TARGET:.0f} s.\nFrom the call to hibernated: {median(nights):.2f} s"
        f" ({min(nights):.2f} to {max(nights):.2f})."
    )


def _median(wakes: list[Moments], start: str, end: str) -> float:
    return median(wake[end] - wake[start] for wake in wakes)
