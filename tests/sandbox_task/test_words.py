"""The small texts: summaries of tool calls, front matter, cut events, history."""

import json
import math
from typing import Any

import pytest

from opensessions.events import Assistant, HistoryMessage, inbox_item
from sandbox_task.options import with_history
from sandbox_task.payloads import EVENT_LIMIT, Secrets, cut, encoded
from sandbox_task.skills import fronted
from sandbox_task.summaries import summary

CWD = "/workspace/app"


@pytest.mark.parametrize(
    ("tool", "given", "content", "failed", "expected"),
    [
        ("Write", {"file_path": "/workspace/app/index.html", "content": "a\nb\n"}, "", False,
         "Wrote index.html (2 lines)"),
        ("Write", {"file_path": "/tmp/x", "content": "a"}, "", False, "Wrote /tmp/x (1 line)"),
        ("Write", {"file_path": "/workspace/app/x"}, "No space left", True,
         "Writing x failed: No space left"),
        ("Edit", {"file_path": "/workspace/app/src/a.ts"}, "", False, "Edited src/a.ts"),
        ("Read", {"file_path": "/workspace/app/package.json"}, "", False, "Read package.json"),
        ("Read", {"file_path": "/x"}, "<tool_use_error>File does not exist.</tool_use_error>", True,
         "Reading /x failed: file does not exist."),
        ("Bash", {"command": "npm install"}, "", False, "Ran npm install"),
        ("Bash", {"command": "npm run dev", "run_in_background": True}, "", False,
         "Started npm run dev in the background"),
        ("Bash", {"command": "npm test\necho"}, "Exit code 1\nboom", True, "npm test… failed: exit code 1"),
        ("Bash", {}, [{"type": "text", "text": ""}], True, "a command failed: no reason given"),
        ("Glob", {"pattern": "**/*.ts"}, "", False, "Looked for **/*.ts"),
        ("Grep", {"pattern": "TODO"}, "", False, "Searched for TODO"),
        ("Skill", {"skill": "build-app"}, "", False, "Used the skill build-app"),
        ("WebFetch", {"url": "https://example.com"}, "", False, "Fetched https://example.com"),
        ("TodoWrite", {}, "", False, "Updated the to-do list"),
        ("mcp__maps__route", {}, "", False, "Used route of maps"),
        ("Unheard", {}, "", False, "Used Unheard"),
    ],
)  # fmt: skip
def test_summary(tool: str, given: dict[str, Any], content: Any, failed: bool, expected: str) -> None:
    assert summary(tool, given, content, failed, CWD) == expected


def test_a_summary_is_one_bounded_line() -> None:
    line = summary("Grep", {"pattern": "x\n" * 1000}, "", False)
    assert "\n" not in line and len(line) <= 160


@pytest.mark.parametrize(
    ("text", "description"),
    [("# Build apps\nDo it.", "Build apps"), ("\n\nJust words", "Just words"), ("", "build-app"),
     ('# A "quoted": {title}', 'A "quoted": {title}'), ("---\nno end", "no end")],
)  # fmt: skip
def test_front_matter_is_added(text: str, description: str) -> None:
    lines = fronted(".claude/skills/build-app/SKILL.md", text).split("\n")
    assert lines[:4] == ["---", 'name: "build-app"', f"description: {json.dumps(description)}", "---"]
    assert "\n".join(lines[5:]) == text


def test_front_matter_is_kept() -> None:
    text = "---\nname: other\ndescription: d\n---\nBody"
    assert fronted(".claude/skills/build-app/SKILL.md", text) == text


@pytest.mark.parametrize(
    "message",
    [
        {"text": "ä" * 600_000}, {"content": [{"text": "x" * 10_000} for _ in range(100)]},
        {"content": [{"deep": [["x" * 50] * 200] * 200}]}, {"surrogate": "\ud800", "nan": math.nan},
        {"keys": {str(number): "v" for number in range(60_000)}},
    ],
    ids=["one string", "many strings", "many lists", "not JSON", "many keys"],
)  # fmt: skip
def test_every_event_becomes_json_of_bounded_size(message: dict[str, Any]) -> None:
    data = encoded(Assistant(message=message), Secrets([]))
    assert len(data) <= EVENT_LIMIT
    assert json.loads(data.decode())["type"] in ("assistant", "error")


def test_a_payload_that_is_too_deep_is_flattened() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert (
        "nested too deeply" in encoded(Assistant.model_construct(message={"d": deep}), Secrets([])).decode()
    )


def test_what_cannot_be_cut_is_replaced() -> None:
    named = json.dumps({"type": "system", "k" * 1000: 1}).encode()
    assert json.loads(cut(named, 200))["code"] == "event_dropped"


def test_history_keeps_the_newest() -> None:
    history = [HistoryMessage(role="user", content=f"old {n} " + "x" * 20_000) for n in range(10)]
    text = with_history([*history, HistoryMessage(role="assistant", content="NEWEST")], "go")
    assert "NEWEST" in text and text.endswith("\n\ngo") and "old 0" not in text and len(text) < 61_000
    assert with_history([], "go") == "go"


def test_the_wire_is_read() -> None:
    assert inbox_item.validate_json('{"type": "interrupt"}').type == "interrupt"
