"""A session that falls asleep, and one that is woken by a visit of its preview."""

import time
from datetime import datetime
from itertools import pairwise

import httpx2

from bench.figures import heading, median, ms, table
from bench.processes import Product, demo_model, product

ROUNDS, TARGET = 9, 5.0
_PATIENCE, _LOOK = 60.0, 0.05
_STEPS = ("asked", "woken", "sandbox_ready", "answers")
_NAMES = {
    "woken": "woken (the service takes it on)",
    "sandbox_ready": "sandbox_ready (walls, Python, worker)",
    "answers": "200 (unpacked, and the app's server answers)",
    "configured": "configured (unpacked, and the SDK imported)",
    "preview_ready": "preview_ready (its port was seen)",
    "ready": "ready (the agent's program, resumed)",
}
Moments = dict[str, float]


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
        seq = _until(server, session["id"], {"version_saved"}, 0)[1]
        page = _preview(session["previewUrl"]).text
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
    moments, seq = _until(server, session_id, {"hibernated"}, seq)
    return moments["hibernated"] - called, seq


def _woken(server: Product, session: dict[str, str], seq: int, page: str) -> tuple[Moments, int]:
    moments = {"asked": time.time()}
    deadline = moments["asked"] + _PATIENCE
    while (answer := _preview(session["previewUrl"])).status_code != 200:
        if time.time() > deadline:
            raise RuntimeError(f"No preview within {_PATIENCE} s: {answer.status_code} {answer.text[:200]}")
        time.sleep(_LOOK)
    moments["answers"] = time.time()
    if answer.text != page:
        raise RuntimeError("The preview is another than before.")
    told, seq = _until(server, session["id"], {"woken", "sandbox_ready", "preview_ready", "ready"}, seq)
    return told | moments, seq


def _preview(url: str) -> httpx2.Response:
    """A visit of the preview by its public name, whether this machine resolves that or not."""
    host = url.partition("://")[2]
    told = {"Host": host, "Sec-Fetch-Dest": "document", "Accept": "text/html"}
    return httpx2.get(f"http://127.0.0.1:{host.rpartition(':')[2]}/", headers=told, timeout=10)


def _until(server: Product, session_id: str, wanted: set[str], after: int) -> tuple[Moments, int]:
    """When the service recorded the first event of each type, until all those that are wanted are there, and
    the last one's number.
    """
    moments: Moments = {}
    for _, event in server.events(session_id, after):
        if event["type"] == "error":
            raise RuntimeError(f"The session failed: {event}")
        moments.setdefault(event["type"], datetime.fromisoformat(event["createdAt"]).timestamp())
        if wanted <= moments.keys():
            return moments, event["seq"]
    raise RuntimeError(f"The stream ended before {wanted}.")


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
