"""What a sandbox tries that has its worker's token: to flood its session's log."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.rates import Rates
from tests.e2e.probes.hostile import SLOW
from tests.e2e.server import Server
from tests.e2e.unpeopled import tokens

SECONDS = 60 if SLOW else 3
EVENTS = "/sandbox/v1/events"


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path, module="tests.e2e.unpeopled").start()
    yield running
    assert running.stop() == 0, running.log()


class Sandbox:
    """A session's sandbox, whose events are numbered from 1 on."""

    def __init__(self, server: Server) -> None:
        self.session = server.create("say nothing at all")
        self.said = 0
        worker = (tokens(server.data) / self.session["sandboxId"]).read_text()
        socket = Path((server.data / "data" / "run").read_text()) / "gateway.sock"
        self.client = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(socket)),
            base_url="http://gateway",
            headers={"Authorization": f"Bearer {worker}"},
            timeout=60,
        )

    def say(self, text: str, count: int = 1) -> httpx2.Response:
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        events = [{"type": "assistant", "message": message}] * count
        answer = self.client.post(EVENTS, json={"first_seq": self.said + 1, "events": events})
        self.said += count if answer.status_code == 200 else 0
        return answer


def test_i30_a_flood_of_events_is_refused_and_others_are_served(quiet: Server) -> None:
    """200 posts a second are tried; OPENSESSIONS_SLOW_TESTS=1 tries for a minute."""
    hostile, neighbour = Sandbox(quiet), Sandbox(quiet)
    end = time.monotonic() + SECONDS

    def flood(_: int) -> list[httpx2.Response]:
        answers = []
        while time.monotonic() < end:
            answers.append(hostile.say("x" * 25_000, 10))
            time.sleep(0.02)
        return answers

    took = []
    with hostile.client, neighbour.client, ThreadPoolExecutor(4) as pool:
        flooding = [pool.submit(flood, number) for number in range(4)]
        while time.monotonic() < end:
            began = time.monotonic()
            assert neighbour.say("hello").status_code == 200
            took.append(time.monotonic() - began)
            time.sleep(0.1)
        answers = [answer for each in flooding for answer in each.result()]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and {answer.status_code for answer in answers} <= {200, 409, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    rates, passed = Rates(), time.monotonic() - end + SECONDS
    assert stored(quiet, hostile.session) < rates.volume_burst + passed * rates.volume + 300_000
    assert sorted(took)[len(took) // 2] < 1


def stored(server: Server, session: dict[str, Any]) -> int:
    """Bytes of all that a session's sandbox said."""
    path, after, size = f"/v1/sessions/{session['id']}/events/page", 0, 0
    while page := server.http.get(path, params={"after": after}).json()["data"]:
        size += sum(len(json.dumps(event)) for event in page if event["type"] == "assistant")
        after = page[-1]["seq"]
    return size
