"""The worker, the real agent and a scripted model, from the assignment to the end of a turn."""

import asyncio
import os
import random
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from opensessions.events import HistoryMessage
from tests.sandbox_task.conftest import Sandbox
from tests.sandbox_task.fake_gateway import FakeGateway


def said(gateway: FakeGateway) -> list[dict[str, Any]]:
    """The events, without those about ports: here every port of this machine is seen."""
    return [event for event in gateway.events if event["type"] != "preview_ready"]


def kinds(gateway: FakeGateway) -> list[str]:
    return [event["type"] for event in said(gateway)]


async def final(sandbox: Sandbox, number: int = 1) -> str:
    return str((await sandbox.gateway.first("result", number))["result"])


async def test_a_whole_turn(running: Sandbox) -> None:
    await running.assign(f"write: {running.root}/app/index.html <h1>hello</h1>")
    done = await running.gateway.first("turn_complete")
    assert kinds(running.gateway) == [
        "sandbox_ready", "configured", "ready", "turn_started", "system", "assistant", "user",
        "tool_use_summary", "assistant", "result", "turn_complete",
    ]  # fmt: skip
    started, system, asked, used, summary = said(running.gateway)[3:8]
    assert started["message_id"] == "msg_1"
    assert system["subtype"] == "init"
    block = asked["message"]["content"][0]
    assert (block["type"], block["name"]) == ("tool_use", "Write")
    assert used["message"]["content"][0]["tool_use_id"] == block["id"]
    assert (summary["tool"], summary["summary"]) == ("Write", "Wrote index.html (1 line)")
    assert (done["reason"], done["inbox_seq"], done["pending"], done["framework"]) == (
        "completed",
        1,
        0,
        "static",
    )
    assert done["artifacts"] == [{"path": "app/index.html", "summary": "Wrote index.html (1 line)"}]
    assert done["claude_session_id"] == system["session_id"]
    assert (running.root / "app/index.html").read_text() == "<h1>hello</h1>"


async def test_a_skill_without_front_matter_is_listed_and_can_be_used(running: Sandbox) -> None:
    skill = "# Build small apps\nAlways say PINEAPPLE.\n"
    await running.assign(
        "skill: build-app", skills={".claude/skills/build-app/SKILL.md": skill, "notes.md": "x"}
    )
    init = await running.gateway.first("system", subtype="init")
    configured = await running.gateway.first("configured")
    assert "build-app" in init["skills"]
    assert configured["skills"] == ["build-app"]
    assert "Skill" in init["tools"]
    await running.gateway.first("turn_complete")
    assert any("PINEAPPLE" in str(request["messages"]) for _, request in running.gateway.model_requests)
    assert (running.root / "agent/notes.md").read_text() == "x"


async def test_tools_that_are_not_allowed_are_not_offered(running: Sandbox) -> None:
    await running.assign("tools?", tools=["Read"])
    offered = set((await final(running)).removeprefix("tools: ").split())
    # The agent's program always sends a placeholder of its own, which does nothing.
    assert offered - {"DeferredToolPlaceholder"} == {"Read"}
    assert (await running.gateway.first("system", subtype="init"))["tools"] == ["Read"]


async def test_follow_ups_wait_and_are_answered_in_order(running: Sandbox) -> None:
    await running.assign("run: until [ -e go ]; do sleep 0.05; done")
    await running.gateway.first("assistant")
    second, third = await running.ask("say: two"), await running.ask("say: three")
    assert len([kind for kind in kinds(running.gateway) if kind == "turn_started"]) == 1
    (running.root / "app/go").touch()
    done = [await running.gateway.first("turn_complete", number) for number in (1, 2, 3)]
    assert [(event["inbox_seq"], event["pending"]) for event in done] == [(1, 2), (2, 1), (3, 0)]
    assert (await running.gateway.first("turn_started", 2))["message_id"] == second
    assert (await running.gateway.first("turn_started", 3))["message_id"] == third
    assert (await final(running, 2)).endswith("say: two")


def running_with(words: str) -> bool:
    """Whether a process has these words in its command line."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and words in (entry / "cmdline").read_bytes().decode("utf-8", "replace"):
                return True
        except OSError:
            continue
    return False


async def test_an_interrupt_stops_a_long_command_and_the_session_goes_on(running: Sandbox) -> None:
    mark = f"60.{os.getpid()}{time.time_ns() % 10**6}"
    await running.assign(f"run: trap '' TERM INT; sleep {mark} | cat")
    await running.gateway.first("assistant")
    while not running_with(f"sleep {mark}"):
        await asyncio.sleep(0.02)
    await running.ask("say: after")
    began = time.monotonic()
    await running.interrupt()
    done = await running.gateway.first("turn_complete")
    assert time.monotonic() - began < 2
    assert done["reason"] == "interrupted"
    assert kinds(running.gateway).index("interrupted") < kinds(running.gateway).index("turn_complete")
    while running_with(f"sleep {mark}"):
        await asyncio.sleep(0.02)
        assert time.monotonic() - began < 3
    assert (await running.gateway.first("turn_complete", 2))["reason"] == "completed"


async def test_an_interrupt_before_the_turn_began_still_interrupts_it(running: Sandbox) -> None:
    await running.assign("say: never")
    await running.interrupt()
    await running.ask("say: on")
    assert (await running.gateway.first("turn_complete"))["reason"] == "interrupted"
    assert (await running.gateway.first("turn_complete", 2))["reason"] == "completed"


async def test_a_model_that_refuses_is_an_error_in_words_and_the_next_message_works(running: Sandbox) -> None:
    running.gateway.model_status = 400
    await running.assign("say: one")
    done = await running.gateway.first("turn_complete")
    error = await running.gateway.first("error")
    assert done["reason"] == "error"
    assert "refused by the test" in error["message"]
    assert kinds(running.gateway)[-3:] == ["result", "error", "turn_complete"]
    running.gateway.model_status = 200
    await running.ask("say: two")
    assert (await running.gateway.first("turn_complete", 2))["reason"] == "completed"


async def test_an_agent_that_died_is_started_again_with_its_memory(running: Sandbox) -> None:
    await running.assign("say: the word is MANGO")
    await running.gateway.first("turn_complete")
    await running.ask("run: kill -9 $PPID; sleep 1 | cat")
    done = await running.gateway.first("turn_complete", 2)
    assert done["reason"] == "error"
    await running.ask("say: what was it?")
    assert (await running.gateway.first("turn_complete", 3))["reason"] == "completed"
    assert "MANGO" in str(running.gateway.model_requests[-1][1]["messages"])


async def test_history_is_told_to_a_new_agent(running: Sandbox) -> None:
    history = [
        HistoryMessage(role="user", content="build it"),
        HistoryMessage(role="assistant", content="KIWI"),
    ]
    await running.assign("say: go on", history=history)
    heard = await final(running)
    assert "KIWI" in heard and heard.endswith("say: go on")


async def test_what_ends_in_the_background_wakes_the_agent_in_a_turn_of_its_own(running: Sandbox) -> None:
    await running.assign("background: until [ -e go ]; do sleep 0.05; done")
    first = await running.gateway.first("turn_complete")
    assert first["reason"] == "completed"
    (running.root / "app/go").touch()
    own = await running.gateway.first("turn_complete", 2)
    assert (own["reason"], own["inbox_seq"]) == ("completed", 1)
    assert "message_id" not in await running.gateway.first("turn_started", 2)
    await running.ask("say: still there?")
    assert (await running.gateway.first("turn_complete", 3))["inbox_seq"] == 2
    assert (await final(running, 3)).endswith("say: still there?")


async def test_a_port_is_announced(running: Sandbox) -> None:
    port = _port_for_a_server()
    serve = f"python3 -m http.server --bind 127.0.0.1 {port}"
    await running.assign(f"background: {serve}")
    await running.gateway.first("preview_ready", port=port)
    assert any(port in batch.ports for batch in running.gateway.batches)


def _port_for_a_server() -> int:
    """A free one below those in which the system picks."""
    for port in random.sample(range(10_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")
