"""One line for people about a finished tool call."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

_LIMIT = 160
_TAGS = re.compile(r"</?tool_use_error>")


def summary(tool: str, given: Mapping[str, Any], content: object, failed: bool, cwd: str = "") -> str:
    """What `tool` did with the input `given`, or why it failed; paths are relative to `cwd`."""
    doing, done = _WORDS.get(tool, _other)(given, tool, cwd)
    text = f"{doing} failed: {_reason(content)}" if failed else done
    text = " ".join(text.split())
    return text if len(text) <= _LIMIT else text[: _LIMIT - 1] + "…"


def _reason(content: object) -> str:
    lines = (_TAGS.sub("", line).strip() for line in text_of(content).splitlines())
    first = next((line for line in lines if line), "no reason given")
    return first[0].lower() + first[1:] if re.match(r"(Exit|Error|File|Command) ", first) else first


def text_of(content: object) -> str:
    """The text of a tool result, which is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text", "") for block in blocks if isinstance(block, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def shown(path: object, cwd: str) -> str:
    """A path as people write it."""
    text = str(path or "a file")
    if cwd and text.startswith(cwd.rstrip("/") + "/"):
        text = os.path.relpath(text, cwd)
    return text


_Words = tuple[str, str]
_Given = Mapping[str, Any]


def _write(given: _Given, tool: str, cwd: str) -> _Words:
    name, count = shown(given.get("file_path"), cwd), len(str(given.get("content", "")).splitlines())
    return f"Writing {name}", f"Wrote {name} ({count} {'line' if count == 1 else 'lines'})"


def _edit(given: _Given, tool: str, cwd: str) -> _Words:
    name = shown(given.get("file_path") or given.get("notebook_path"), cwd)
    return f"Editing {name}", f"Edited {name}"


def _read(given: _Given, tool: str, cwd: str) -> _Words:
    name = shown(given.get("file_path"), cwd)
    return f"Reading {name}", f"Read {name}"


def _bash(given: _Given, tool: str, cwd: str) -> _Words:
    lines = str(given.get("command", "")).strip().splitlines() or ["a command"]
    command = lines[0][:80] + ("…" if len(lines) > 1 or len(lines[0]) > 80 else "")
    if given.get("run_in_background"):
        return command, f"Started {command} in the background"
    return command, f"Ran {command}"


def _glob(given: _Given, tool: str, cwd: str) -> _Words:
    pattern = given.get("pattern", "files")
    return f"Looking for {pattern}", f"Looked for {pattern}"


def _grep(given: _Given, tool: str, cwd: str) -> _Words:
    pattern = given.get("pattern", "text")
    return f"Searching for {pattern}", f"Searched for {pattern}"


def _skill(given: _Given, tool: str, cwd: str) -> _Words:
    name = given.get("skill") or given.get("command") or "a skill"
    return f"The skill {name}", f"Used the skill {name}"


def _fetch(given: _Given, tool: str, cwd: str) -> _Words:
    return f"Fetching {given.get('url', 'a page')}", f"Fetched {given.get('url', 'a page')}"


def _web(given: _Given, tool: str, cwd: str) -> _Words:
    query = given.get("query", "something")
    return f"Searching the web for {query}", f"Searched the web for {query}"


def _todo(given: _Given, tool: str, cwd: str) -> _Words:
    return "Updating the to-do list", "Updated the to-do list"


def _task(given: _Given, tool: str, cwd: str) -> _Words:
    what = given.get("description", "a task")
    return f"The task {what!r}", f"Finished the task {what!r}"


def _other(given: _Given, tool: str, cwd: str) -> _Words:
    if tool.startswith("mcp__"):
        server, _, name = tool.removeprefix("mcp__").partition("__")
        return f"{name} of {server}", f"Used {name} of {server}"
    return tool, f"Used {tool}"


_WORDS: dict[str, Callable[[_Given, str, str], _Words]] = {
    "Write": _write, "Edit": _edit, "MultiEdit": _edit, "NotebookEdit": _edit, "Read": _read, "Bash": _bash,
    "Glob": _glob, "Grep": _grep, "Skill": _skill, "WebFetch": _fetch, "WebSearch": _web,
    "TodoWrite": _todo, "Task": _task, "Agent": _task,
}  # fmt: skip
