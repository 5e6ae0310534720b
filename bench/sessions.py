"""A session as its user sees it: when it said what, and when its preview was there."""

import time
from datetime import datetime

import httpx2

from bench.processes import Product

LOOK = 0.05
Moments = dict[str, float]


def told(server: Product, session_id: str, wanted: set[str], after: int = 0) -> tuple[Moments, int]:
    """When the service recorded the first event of each type after a number, until all those that are wanted
    are there, and the last one's number. Raises RuntimeError when the session says that it failed.
    """
    moments: Moments = {}
    for _, event in server.events(session_id, after):
        if event["type"] == "error" and event["level"] == "error":
            raise RuntimeError(f"The session failed: {event}")
        moments.setdefault(event["type"], datetime.fromisoformat(event["createdAt"]).timestamp())
        if wanted <= moments.keys():
            return moments, event["seq"]
    raise RuntimeError(f"The stream ended before {wanted}.")


def opened(url: str, seconds: float = 60) -> tuple[float, str]:
    """When the preview's page was there, asked for every LOOK seconds, and what it says."""
    deadline = time.time() + seconds
    while (answer := _visit(url, seconds)).status_code != 200:
        if time.time() > deadline:
            raise RuntimeError(f"No preview in {seconds} s: {answer.status_code} {answer.text[:200]}")
        time.sleep(LOOK)
    return time.time(), answer.text


def _visit(url: str, seconds: float) -> httpx2.Response:
    """A navigation to the public name, whether this machine resolves that or not."""
    host = url.partition("://")[2]
    headers = {"Host": host, "Sec-Fetch-Dest": "document", "Accept": "text/html"}
    return httpx2.get(f"http://127.0.0.1:{host.rpartition(':')[2]}/", headers=headers, timeout=seconds)
