"""Webhooks end to end: receivers that fail in every way, and a server that is killed."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from opensessions.local.courier import THREADS
from tests.e2e.receiver import Delivery, receiver, unverified
from tests.e2e.server import Server, until

LOOPBACK = {"OPENSESSIONS_WEBHOOKS_LOOPBACK": "1"}


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose webhooks may lead to this machine."""
    running = Server(tmp_path_factory.mktemp("near"), environment=LOOPBACK).start()
    yield running
    assert running.stop() == 0, running.log()


def hook(server: Server, url: str, *events: str) -> dict[str, Any]:
    answer = server.http.post("/v1/webhooks", json={"url": url, "events": events or ["*"]})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def seqs(deliveries: list[Delivery]) -> list[int]:
    return [delivery.told["seq"] for delivery in deliveries]


def first(deliveries: list[Delivery]) -> list[Delivery]:
    """Each once, as it came first."""
    return list({delivery.id: delivery for delivery in reversed(deliveries)}.values())[::-1]


def test_a_backend_hears_of_a_session_without_asking(near: Server) -> None:
    with receiver() as there:
        body = {"webhook": {"url": there.url("/own"), "events": ["turn_complete", "session_ended"]}}
        session = near.create("run: echo hello", metadata={"order": "17"}, **body)
        until(lambda: there.of("/own"))
        near.delete(session)
        turn, end = until(lambda: len(there.of("/own")) == 2 and there.of("/own"))
    assert turn.told | {"seq": 0} == {
        "session_id": session["id"], "user_id": session["userId"], "seq": 0,
        "event_type": "turn_complete", "status": "ready", "metadata": {"order": "17"},
    }  # fmt: skip
    assert (end.told["event_type"], end.told["status"]) == ("session_ended", "ended")
    secret = session["webhook"]["secret"]
    assert unverified(secret, [turn, end]) == []
    forged = Delivery(end.path, end.headers, end.body.replace("17", "18"), end.at)
    assert unverified(secret, [forged]) == ["No matching signature found"]


def test_each_receiver_is_handled_as_documented(near: Server) -> None:
    """All at once, of one session: none holds up another."""
    with receiver() as inside, receiver(
        fails=lambda _, before: (204 if before else 500, {}),
        stalls=lambda _, before: (time.sleep(0 if before else 11), (204, {}))[1],
        moves=lambda _, before: (302, {"Location": inside.url("/private")}),
        leaves=lambda _, before: (410, {}),
    ) as there:  # fmt: skip
        hooks = {
            name: hook(near, there.url(f"/{name}"))
            for name in ("fails", "stalls", "moves", "leaves", "takes")
        }
        session = near.create("run: echo hello")
        near.turn(session)
        last = near.delete(session) and near.get(session)["lastSeq"]
        everything = list(range(1, last + 1))
        until(lambda: seqs(there.of("/takes")) == everything, 5)

        until(lambda: seqs(there.of("/fails")) == [1, *everything], 15)
        tries = there.of("/fails")
        assert tries[1].at - tries[0].at > 4.5 and tries[1].id == tries[0].id

        until(lambda: seqs(there.of("/stalls")) == [1, *everything], 30)
        tries = there.of("/stalls")
        assert tries[1].at - tries[0].at > 14.5, "ten seconds of patience, then five of rest"

        assert set(seqs(there.of("/moves"))) == {1} and not inside.got
        assert len(there.of("/leaves")) == 1
        shown = {each["id"]: each for each in near.http.get("/v1/webhooks").json()["data"]}
        off = shown[hooks["leaves"]["id"]]
        assert (off["status"], off["reason"]) == ("off", "The receiver answered 410.")
        assert shown[hooks["moves"]["id"]]["status"] == "on"
        assert "redirects are not followed" in near.log()
        for name in ("fails", "stalls", "takes"):
            assert unverified(hooks[name]["secret"], there.of(f"/{name}")) == []
        for made in hooks.values():
            assert near.http.delete(f"/v1/webhooks/{made['id']}").status_code == 204


def test_private_addresses_and_plain_http_are_refused(server: Server) -> None:
    for url in ("http://127.0.0.1:9/", "https://127.0.0.1/", "https://localhost/", "http://example.com/"):
        answer = server.http.post("/v1/webhooks", json={"url": url})
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "url")


def test_what_failed_for_good_is_listed_and_delivered_when_asked(tmp_path: Path) -> None:
    hurried = Server(tmp_path, environment=LOOPBACK, module="tests.e2e.hurried").start()
    well: list[bool] = []
    with receiver(ill=lambda _, before: (204 if well else 503, {})) as there:
        made = hook(hurried, there.url("/ill"), "session_started", "session_ended")
        session = hurried.create("run: echo hello")
        hurried.delete(session)
        path = f"/v1/webhooks/{made['id']}/deliveries?status=dead"
        dead = until(lambda: len(data := hurried.http.get(path).json()["data"]) == 2 and data, 20)
        assert [each["eventType"] for each in dead] == ["session_started", "session_ended"]
        assert [(each["attempts"], each["error"]) for each in dead] == [(3, "It answered 503.")] * 2
        assert [each["id"] for each in dead] == [each.id for each in first(there.of("/ill"))]
        well.append(True)
        again = hurried.http.post(f"/v1/webhooks/{made['id']}/redeliver")
        assert (again.status_code, again.json()) == (202, {"queued": 2})
        until(lambda: not hurried.http.get(path).json()["data"])
        assert [each.id for each in there.of("/ill")[-2:]] == [each["id"] for each in dead]
    assert hurried.stop() == 0, hurried.log()


def test_a_thousand_deliveries_and_a_server_killed_twice(tmp_path: Path) -> None:
    """Every one arrives at least once, in order in its session, at each of five receivers."""
    server = Server(tmp_path, environment=LOOPBACK).start()
    with receiver(**{str(number): slowly for number in range(5)}) as there:
        hooks = {f"/{number}": hook(server, there.url(f"/{number}")) for number in range(5)}
        sessions = [server.create("sleep 600") for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda session: [server.send(session, f"{n}") for n in range(50)], sessions))
        last = {each["id"]: server.delete(each) and server.get(each)["lastSeq"] for each in sessions}
        total = 5 * sum(last.values())
        assert total >= 1000
        for share in (0.4, 0.7):
            until(lambda share=share: len(first(there.got)) > share * total, 60)
            server.stop(signal.SIGKILL)
            assert len(first(there.got)) < total, "killed before everything was delivered"
            server.start()
        until(lambda: len(first(there.got)) == total, 60)
        assert len(there.got) <= total + 2 * THREADS, (
            "what was under way when it was killed, alone, came twice"
        )
        for path, made in hooks.items():
            assert in_order(there.of(path)) == {id: list(range(1, seq + 1)) for id, seq in last.items()}
            assert unverified(made["secret"], there.of(path)) == []
    assert server.stop() == 0, server.log()


def slowly(delivery: Delivery, before: int) -> tuple[int, dict[str, str]]:
    time.sleep(0.05)
    return 204, {}


def in_order(deliveries: list[Delivery]) -> dict[str, list[int]]:
    """The numbers by session, as each came first."""
    arrived: dict[str, list[int]] = {}
    for delivery in first(deliveries):
        arrived.setdefault(delivery.told["session_id"], []).append(delivery.told["seq"])
    return arrived
