from typing import Any

import pytest

from opensessions.http.event_lines import line
from opensessions.http.stored_events import payloads

USES = {"type": "tool_use", "name": "Bash"}


@pytest.mark.parametrize(
    ("type_", "payload", "expected"),
    [
        ("session_started", {"message": "Bootstrapping sandbox..."}, "Bootstrapping sandbox..."),
        ("assistant", {"message": {"content": [{"type": "text", "text": "Hello"}, USES]}}, "Hello"),
        ("assistant", {"message": {"content": [USES, USES]}}, "Uses Bash, Bash"),
        ("assistant", {"message": {"content": "Hello"}}, "Hello"),
        ("assistant", {"message": {"content": None}}, "The agent thinks"),
        ("assistant", {"message": {}}, "The agent thinks"),
        ("user", {"message": {"content": [{"type": "tool_result", "is_error": True}]}}, "A tool failed"),
        ("user", {"message": {"content": [{"type": "tool_result"}]}}, "A tool answered"),
        ("tool_use_summary", {"tool": "Bash", "summary": "Ran npm\n install"}, "Ran npm install"),
        ("user_message", {"text": "Make it blue"}, "Make it blue"),
        ("preview_ready", {"port": 3000, "url": "https://a"}, "Preview ready: https://a"),
        ("configured", {"tools": ["Bash", "Read"]}, "The agent has Bash, Read"),
        ("configured", {"tools": []}, "The agent has no tools"),
        ("result", {"result": "Done."}, "Done."),
        ("result", {"is_error": True}, "The turn failed"),
        ("turn_complete", {"reason": "completed"}, "Turn completed"),
        ("session_ended", {"reason": "deleted"}, "Session ended: deleted"),
        ("error", {"message": "No room."}, "No room."),
        ("sandbox_ready", {}, "Sandbox ready"),
        ("of_tomorrow", {}, "Of tomorrow"),
    ],
)
def test_an_event_in_one_line(type_: str, payload: dict[str, Any], expected: str) -> None:
    assert line(type_, payload) == expected


def test_a_line_is_short_and_one() -> None:
    assert len(line("result", {"result": "word\n" * 1000})) == 300


def test_every_type_has_a_line_whatever_its_payload() -> None:
    for payload in payloads():
        type_ = payload.model_fields["type"].default
        for odd in ({}, {"message": []}, {"message": {"content": [1, "x", {"type": []}]}}, {"tools": None}):
            assert line(type_, odd)
