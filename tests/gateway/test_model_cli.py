"""The real Claude CLI talks through the model proxy: a turn with a tool call."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from tests.gateway.calls_parts import Book
from tests.gateway.model_parts import (
    REAL_KEY,
    TOKEN,
    Sent,
    block,
    end,
    frames,
    model_place,
    start,
    streaming,
    text,
)

sdk = pytest.importorskip("claude_agent_sdk")


def builder(workspace: Path):  # type: ignore[no-untyped-def]
    """A model that writes a file by a Bash call, then says what the call answered."""

    async def answer(sent: Sent) -> Response:
        content = sent.body["messages"][-1]["content"]
        results = [b for b in content if isinstance(b, dict) and b.get("type") == "tool_result"]
        if results:
            events = [*text(f"it said {str(results[0]['content'])[:5]}"), *end()]
        else:
            call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
            command = json.dumps({"command": "echo canary | tee made.txt"})
            events = [*block(call, {"type": "input_json_delta", "partial_json": command}), *end("tool_use")]
        return await streaming(frames(start(sent.body["model"]), *events))(sent)

    return answer


async def turn(url: str, folder: Path) -> list[Any]:
    """What the agent says while it makes a file in `folder / "workspace"`, its model being at `url`; what it
    fails with last.
    """
    home, workspace = folder / "home", folder / "workspace"
    home.mkdir()
    workspace.mkdir()
    options = sdk.ClaudeAgentOptions(
        cwd=workspace,
        tools=["Bash"],
        permission_mode="bypassPermissions",
        setting_sources=[],
        env={
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": TOKEN,
            "HOME": str(home),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "IS_SANDBOX": "1",
            "PATH": os.environ["PATH"],
        },
    )
    said: list[Any] = []
    try:
        async for message in sdk.query(prompt="make a file", options=options):
            said.append(message)
    except sdk.ResultError as error:
        said.append(error)
    return said


async def test_a_turn_with_a_tool_call(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    async with model_place(builder(workspace)) as place:
        result = (await turn(place.url, tmp_path))[-1]
        assert isinstance(result, sdk.ResultMessage) and not result.is_error, result
        assert result.result == "it said canar"
        assert (workspace / "made.txt").read_text() == "canary\n"
        assert [session for session, _ in place.deltas] == ["session_a"]
        assert [sent.headers["x-api-key"] for sent in place.stub.requests] == [REAL_KEY] * 2
        assert len(await place.settled(2)) == 2 and not place.book.aside


async def test_a_turn_without_leave_ends_at_once_with_the_reason(tmp_path: Path) -> None:
    async with model_place(builder(tmp_path / "workspace"), book=Book(budget=10)) as place:
        *_, result, error = await turn(place.url, tmp_path)
        said = "API Error: 402 The session's limits.tokens are used up."
        assert result.is_error and result.result == said and said in str(error)
        assert place.book.spent == 1 and place.stub.requests == []
