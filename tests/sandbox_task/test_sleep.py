"""Going back, sleeping and waking: the worker, the real agent and a scripted model."""

import hashlib
import os
import random
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from opensessions.archives import Archived, Beginning, Kept
from opensessions.events import Hibernate, HistoryMessage, Restore, Save
from tests.sandbox_task.conftest import Sandbox
from tests.sandbox_task.fake_gateway import eventually


def free_port() -> int:
    """One below those in which the system picks."""
    for port in random.sample(range(10_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def tree(root: Path) -> dict[str, str]:
    """The workspace's files but the agent's own, by checksum; links by target."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            name = str(path.relative_to(root))
            if name.startswith("home/") and not name.startswith("home/.claude/projects/"):
                continue
            data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[name] = hashlib.sha256(data).hexdigest()
    return found


async def version(sandbox: Sandbox, number: int) -> Archived:
    """The archive of a version, as soon as it is kept."""
    kept = sandbox.gateway.archives
    await sandbox.gateway.until(lambda _: len(kept.versions) >= number)
    return kept.versions[number - 1]


def conversation(root: Path) -> str:
    return "".join(path.read_text() for path in (root / "home/.claude/projects").rglob("*.jsonl"))


def last_asked(sandbox: Sandbox) -> str:
    return str(sandbox.gateway.model_requests[-1][1]["messages"])


async def again(sandbox: Sandbox, assigned: dict[str, Any] | None = None, **beginning: Any) -> None:
    """A sandbox of the next launch at the same place, without anything of the former but its archives."""
    sandbox.gateway.events.clear()
    sandbox.gateway.items.clear()
    await sandbox.start()
    sources = sandbox.gateway.archives.sources()
    given = Beginning.model_validate({"sources": sources, **beginning})
    await sandbox.assign(None, message_id=None, beginning=given, **(assigned or {}))


async def test_after_going_back_files_and_conversation_are_as_they_were_and_the_next_turn_builds_on_it(
    running: Sandbox,
) -> None:
    app, port = running.root / "app", free_port()
    await running.assign(f"run: echo MANGO > a.txt; (python3 -m http.server {port} >/dev/null 2>&1 &)")
    first = await version(running, 1)
    before = tree(running.root)
    await running.ask("run: echo PAPAYA > a.txt; mkdir node_modules; echo m > node_modules/m")
    second = await version(running, 2)
    await running.ask("run: echo LYCHEE > b.txt")
    third = await version(running, 3)
    said = [turn.message_id for one in (first, second, third) for turn in one.turns]
    assert said == ["msg_1", "msg_2", "msg_3"]
    assert [change.path for change in third.turns[-1].files] == ["app/b.txt"]
    assert third.turns[-1].changed == 1 and "+LYCHEE" in third.turns[-1].diff
    assert (third.kind, third.inbox_seq, third.servers[0].port) == ("light", 0, port)

    back = Restore(version=1, commit=str(first.commit), claude_session_id=first.claude_session_id)
    seq = await running.gateway.say(back)
    restored = await running.gateway.first("restored")
    assert (restored["version"], restored["inbox_seq"]) == (1, seq)
    there = {name: of for name, of in tree(running.root).items() if not name.startswith(".opensessions")}
    kept = {name: of for name, of in before.items() if not name.startswith(".opensessions")}
    modules = there.pop("app/node_modules/m", None)
    assert modules is not None and there.keys() == kept.keys()
    assert there["app/a.txt"] == kept["app/a.txt"]
    assert "PAPAYA" not in conversation(running.root)
    await eventually(lambda: answers(port))

    await running.ask("run: cat a.txt > c.txt")
    fourth = await version(running, 4)
    assert (app / "c.txt").read_text() == "MANGO\n"
    assert "MANGO" in last_asked(running) and "PAPAYA" not in last_asked(running)
    assert [change.path for change in fourth.turns[-1].files] == ["app/c.txt"]
    archives = list(running.gateway.archives.kept.values())
    assert not archives[3].turns and archives[3].commit == first.commit


async def test_a_session_that_slept_goes_on_elsewhere_with_all_it_had(running: Sandbox) -> None:
    port = free_port()
    running.gateway.archives.verdict = lambda archived: Kept(stop=archived.inbox_seq > 0)
    await running.assign(
        "run: echo MANGO > a.txt; ln -s a.txt link; mkdir node_modules __pycache__; "
        "echo m > node_modules/m; echo c > __pycache__/c; "
        f"(MODE=demo python3 -m http.server {port} >/dev/null 2>&1 &)"
    )
    await running.gateway.first("preview_ready", port=port)
    await running.gateway.first("turn_complete")  # its version is not kept yet
    seq = await running.gateway.say(Hibernate())
    assert await running.ended(30) == 0
    assert not answers(port)
    archived = list(running.gateway.archives.kept.values())[-1]
    assert (archived.kind, archived.inbox_seq) == ("full", seq)
    assert len(running.gateway.archives.versions) == 1
    assert [(one.port, one.cwd, one.environment.get("MODE")) for one in archived.servers] == [
        (port, "app", "demo")
    ]
    before = tree(running.root)
    before.pop("app/__pycache__/c")
    shutil.rmtree(running.root)

    await again(running, claude_session_id=archived.claude_session_id, servers=archived.servers)
    await running.gateway.first("preview_ready", port=port)
    await running.gateway.first("ready")
    assert tree(running.root) == before
    await running.gateway.until(lambda _: running.gateway.batches[-1].state == "idle")
    await running.ask("say: what was it?")
    assert (await running.gateway.first("turn_complete"))["reason"] == "completed"
    asked = last_asked(running)
    assert "MANGO" in asked and "earlier_conversation" not in asked


async def test_a_session_that_may_not_or_cannot_sleep_goes_on(running: Sandbox) -> None:
    port = free_port()
    await running.assign(f"run: (python3 -m http.server {port} >/dev/null 2>&1 &)")
    await running.gateway.first("preview_ready", port=port)
    await version(running, 1)
    running.gateway.archives.refusal = 409
    await running.gateway.say(Hibernate())
    error = await running.gateway.first("error")
    assert error["code"] == "hibernate_failed" and "Refused by the test." in error["message"]
    await running.gateway.first("preview_ready", 2, port=port)
    running.gateway.archives.refusal = None
    await running.gateway.say(Hibernate())  # and is told not to stop
    await running.gateway.first("preview_ready", 3, port=port)
    seq = await running.gateway.say(Save())
    await running.ask("say: there?")
    await running.gateway.first("turn_complete", 2)
    assert [one.inbox_seq for one in running.gateway.archives.kept.values() if one.kind == "full"][1] == seq


async def test_going_back_to_what_is_not_there_is_said_and_the_session_goes_on(running: Sandbox) -> None:
    await running.assign("say: the word is MANGO")
    await version(running, 1)
    seq = await running.gateway.say(Restore(version=7, commit="7" * 40))
    assert (await running.gateway.first("error"))["code"] == "restore_failed"
    done = await running.gateway.first("turn_complete", 2)
    assert (done["reason"], done["inbox_seq"], done["pending"]) == ("error", seq, 0)
    await running.ask("say: what was it?")
    await running.gateway.first("turn_complete", 3)
    assert "MANGO" in last_asked(running)


async def test_a_workspace_that_cannot_be_brought_back_ends_the_sandbox(running: Sandbox) -> None:
    await running.assign("run: echo MANGO > a.txt")
    await version(running, 1)
    await running.stop()
    shutil.rmtree(running.root)
    running.gateway.archives.parts.clear()
    await again(running)
    error = await running.gateway.first("error")
    assert error["code"] == "wake_failed"
    assert await running.ended() == 0
    assert not [event for event in running.gateway.events if event["type"] == "configured"]


async def test_a_copy_without_a_past_begins_with_the_files_alone(running: Sandbox) -> None:
    await running.assign("run: echo MANGO > a.txt")
    first = await version(running, 1)
    await running.ask("run: echo PAPAYA > a.txt")
    await version(running, 2)
    await running.stop()
    shutil.rmtree(running.root)
    port = free_port()
    said = {
        "history": [HistoryMessage(role="user", content="the word is KIWI")],
        "start_command": f"exec python3 -m http.server {port}",
    }
    await again(running, said, commit=first.commit, fresh=True, claude_session_id=first.claude_session_id)
    await running.gateway.first("ready")
    await running.gateway.first("preview_ready", port=port)
    assert (running.root / "app/a.txt").read_text() == "MANGO\n"
    assert conversation(running.root) == ""
    await running.ask("run: echo LYCHEE > b.txt")
    turn = (await version(running, 3)).turns[-1]
    assert "KIWI" in last_asked(running) and "PAPAYA" not in last_asked(running)
    assert turn is not None and [change.path for change in turn.files] == ["app/b.txt"]


async def test_an_agent_at_work_does_not_sleep_and_is_saved_afterwards(running: Sandbox) -> None:
    await running.assign("run: until [ -e go ]; do sleep 0.05; done")
    await running.gateway.first("assistant")
    await running.gateway.say(Hibernate())
    seq = await running.gateway.say(Save())
    await running.ask("say: on")
    (running.root / "app/go").touch()
    done = await running.gateway.first("turn_complete", 2)
    assert done["pending"] == 0
    full = [one for one in running.gateway.archives.kept.values() if one.kind == "full"]
    assert [one.inbox_seq for one in full] == [seq]
