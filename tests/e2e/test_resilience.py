"""What is killed and restarted, and what nobody may notice of it."""

import contextlib
import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.server import Server, until


def family(server: Server) -> list[psutil.Process]:
    """All processes below the server."""
    return psutil.Process(server.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


def test_kill_9_in_the_middle_of_a_turn(fresh: Server) -> None:
    session = fresh.create("sleep 600")
    before = fresh.events(session, "assistant")
    processes = family(fresh)
    assert processes
    sockets = Path((fresh.data / "data" / "run").read_text())
    assert sockets.is_dir()
    fresh.stop(signal.SIGKILL)
    until(lambda: gone(processes), 2)

    fresh.start()
    assert not sockets.exists()
    after = fresh.events(session, "sandbox_lost")
    assert after[: len(before)] == before
    assert seqs(after) == list(range(1, len(after) + 1))
    assert "it begins anew" in after[-1]["message"]

    again = fresh.events(session, "assistant", after[-1]["seq"])[-1]["seq"]
    assert fresh.http.post(f"/v1/sessions/{session['id']}/interrupt").status_code == 200
    cut = fresh.events(session, "turn_complete", again)[-1]["seq"]
    events = fresh.turn(fresh.get(session), "run: echo back again")
    assert "back again" in json.dumps(events)
    assert seqs(fresh.events(session, "turn_complete", cut))[-1] == events[-1]["seq"]


def test_a_sandbox_killed_in_the_middle_of_a_turn_costs_that_turns_work_alone(fresh: Server) -> None:
    idle = set(family(fresh))
    session = fresh.create("run: echo one > kept.txt")
    fresh.turn(session)
    until(lambda: fresh.get(session)["version"] == 1)
    sandbox = [each for each in family(fresh) if each not in idle]
    asked = fresh.send(session, "run: echo two >> kept.txt; sleep 5; cat kept.txt")
    fresh.events(session, "assistant", asked["lastSeq"])
    sandbox[0].kill()
    lost = fresh.events(session, "sandbox_lost", asked["lastSeq"])[-1]
    assert (lost["version"], lost["message_id"]) == (1, asked["messages"][-1]["id"])
    assert "version 1" in lost["message"] and "begins anew" in lost["message"]
    told = fresh.events(session, "turn_complete", lost["seq"])
    output = [block for e in told if e["type"] == "user" for block in e["message"]["content"]]
    assert "one\\ntwo" in json.dumps(output) and "two\\ntwo" not in json.dumps(output)
    assert told[-1]["reason"] == "completed"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_sandbox_and_exits_0(fresh: Server, how: signal.Signals) -> None:
    session = fresh.create("sleep 600")
    fresh.events(session, "assistant")
    processes = family(fresh)
    with fresh.http.stream("GET", f"/v1/sessions/{session['id']}/events") as stream:
        next(stream.iter_lines())
        fresh.process.send_signal(how)
        assert fresh.process.wait(5) == 0, fresh.log()
    assert gone(processes)


def test_a_second_server_on_the_same_data_says_so(fresh: Server) -> None:
    second = Server(fresh.data)
    with pytest.raises(AssertionError, match="already runs"):
        second.start()
    assert fresh.http.get("/healthz").status_code == 200


def test_delete_leaves_no_process_of_the_sandbox(fresh: Server) -> None:
    idle = set(family(fresh))
    session = fresh.create("sleep 600")
    fresh.events(session, "assistant")
    processes = [p for p in family(fresh) if p not in idle]
    assert any("claude" in " ".join(_command(p)) for p in processes)
    fresh.delete(session)
    assert gone(processes)


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def test_settings_that_are_wrong_are_named(tmp_path: Path) -> None:
    for name, value in (
        ("PORT", "eighty"),
        ("OPENSESSIONS_API_KEY", "short"),
        ("OPENSESSIONS_MODEL_URL", "ftp://x"),
    ):
        with pytest.raises(AssertionError, match=name):
            Server(tmp_path, environment={name: value}).start()
