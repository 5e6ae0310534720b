"""A worker that waits for its assignment, with the agent's programs started before."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from opensessions.events import Prepare
from tests.processes import working_in
from tests.sandbox_task.conftest import Sandbox

USUAL = ["Bash", "Read", "Write", "Edit", "Glob", "Grep"]
URL = "http://sb-test-p{port}.preview.localhost:8000"
SKILL = {".claude/skills/build-app/SKILL.md": "# Build small apps\nAlways say PINEAPPLE.\n"}


@pytest.fixture
async def spare(sandbox: Sandbox) -> Sandbox:
    """A worker that said that it is ready."""
    sandbox.gateway.prepare = Prepare(preview_url=URL, tools=USUAL, max_turns=50)
    await sandbox.start()
    await sandbox.gateway.first("sandbox_ready")
    await _until(lambda: any(batch.state == "idle" for batch in sandbox.gateway.batches))
    assert {event["type"] for event in sandbox.gateway.events} <= {"sandbox_ready", "preview_ready"}
    assert not sandbox.gateway.model_requests
    return sandbox


async def _until(happened: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "It did not happen."
        await asyncio.sleep(0.05)


def agents(sandbox: Sandbox) -> list[int]:
    """The agent's programs that run in this sandbox."""
    found = []
    for pid in working_in(sandbox.folder):
        try:
            if "claude_agent_sdk" in str(Path(f"/proc/{pid}/exe").readlink()):
                found.append(pid)
        except OSError:
            continue
    return found


async def test_one_that_waits_takes_up_a_session_with_all_that_it_says(spare: Sandbox) -> None:
    before = agents(spare)
    assert len(before) == 2, "one for sessions with skills, one for those without"
    await spare.assign(
        "skill: build-app", skills=SKILL, model="claude-haiku-4-5", system_prompt="Call everybody Zelda."
    )
    init = await spare.gateway.first("system", subtype="init")
    assert "build-app" in init["skills"] and set(init["tools"]) == {*USUAL, "Skill"}
    assert (init["model"], init["permissionMode"]) == ("claude-haiku-4-5", "bypassPermissions")
    assert init["cwd"] == str(spare.root / "app")
    await spare.gateway.first("turn_complete", reason="completed")
    told = str(spare.gateway.model_requests)
    assert "Call everybody Zelda." in told and "PINEAPPLE" in told and URL.replace("{port}", "3000") in told
    await _until(lambda: len(agents(spare)) == 1)
    assert set(agents(spare)) < set(before), "the other one is ended"
    kinds = [e["type"] for e in spare.gateway.events if e["type"] != "preview_ready"]
    assert kinds[:5] == ["sandbox_ready", "configured", "ready", "turn_started", "system"]
    await spare.ask(f"write: {spare.root}/app/index.html <h1>hello</h1>")
    await spare.gateway.first("turn_complete", 2, reason="completed")
    assert (spare.root / "app/index.html").read_text() == "<h1>hello</h1>"


@pytest.mark.parametrize(
    "wanted", [{}, {"cwd": "/workspace/app/web"}, {"tools": ["Read"]}, {"max_turns": 3}], ids=str
)
async def test_what_a_program_cannot_become_is_started_anew(spare: Sandbox, wanted: dict[str, Any]) -> None:
    before = set(agents(spare))
    await spare.assign(f"write: {spare.root}/app/index.html <h1>hello</h1>", **wanted)
    init = await spare.gateway.first("system", subtype="init")
    assert set(init["tools"]) == set(wanted.get("tools", USUAL)), "no Skill where there are none"
    assert init["cwd"] == wanted.get("cwd", "/workspace/app").replace("/workspace", str(spare.root))
    await spare.gateway.first("turn_complete")
    await _until(lambda: len(agents(spare)) == 1)
    took = bool(before & set(agents(spare)))
    assert took == (not {"tools", "max_turns"} & wanted.keys())
