"""The main job: a prompt becomes an app that one can open, follow, change, stop and delete."""

import re
from typing import Any

import pytest

from tests.e2e.target import DOCUMENTED, Target, until

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def words(events: list[dict[str, Any]]) -> str:
    """All that the agent said."""
    blocks = [block for e in events if e["type"] == "assistant" for block in e["message"]["content"]]
    return "\n".join(block["text"] for block in blocks if block["type"] == "text")


def test_the_answer_to_the_documented_request(server: Target) -> None:
    session = server.create()
    assert list(session)[:10] == [
        "id", "status", "sandboxId", "previewUrl", "project", "messages", "events",
        "userId", "createdAt", "updatedAt",
    ]  # fmt: skip
    assert re.fullmatch(r"session_[0-9a-f]{32}", session["id"])
    assert re.fullmatch(r"sb-[0-9a-f]{32}", session["sandboxId"])
    assert session["previewUrl"] == server.preview_url(session["sandboxId"])
    assert session["status"] == "running"
    assert session["project"] == {"title": "Build a todo app", "framework": "nextjs", "artifacts": []}
    assert session["events"][0]["type"] == "session_started"
    assert session["events"][0]["message"] == "Bootstrapping sandbox..."
    assert list(session["events"][0]) == ["id", "type", "level", "message", "createdAt"]
    [message] = session["messages"]
    assert (message["role"], message["content"]) == ("user", DOCUMENTED["prompt"])
    assert list(message) == ["id", "role", "content", "createdAt"]
    assert session["userId"] == "user_42"
    assert ISO.fullmatch(session["createdAt"]) and ISO.fullmatch(session["updatedAt"])
    server.delete(session)


def test_the_documented_prompt_becomes_an_app(server: Target) -> None:
    session = server.create()
    events = server.turn(session)
    kinds = [event["type"] for event in events]
    for kind in (
        "sandbox_ready",
        "configured",
        "ready",
        "turn_started",
        "system",
        "assistant",
        "user",
        "preview_ready",
    ):
        assert kind in kinds, kinds
    assert kinds[-2:] == ["result", "turn_complete"]
    assert all(event["tool"] for event in events if event["type"] == "tool_use_summary")
    assert any(
        block["type"] == "tool_result"
        for e in events
        if e["type"] == "user"
        for block in e["message"]["content"]
    )
    assert "demo model" in words(events)
    init = next(event for event in events if event["type"] == "system" and event["subtype"] == "init")
    assert "build-app" in str(init)
    page = server.preview(session)
    assert page.status_code == 200 and "<title>" in page.text
    ready = until(lambda: (now := server.get(session))["status"] == "ready" and now)
    assert ready["messages"][-1]["role"] == "assistant"
    assert ready["project"]["artifacts"]

    before = page.text
    server.turn(ready, "Make the header blue")
    assert server.preview(session).text != before
    server.delete(session)


@pytest.mark.parametrize(("allowed", "has", "lacks"), [(["read"], ["Read"], ["Bash", "Write"])])
def test_allowed_tools_really_restrict(
    server: Target, allowed: list[str], has: list[str], lacks: list[str]
) -> None:
    session = server.create("which tools do you have?", agent_config={"allowed_tools": allowed})
    said = words(server.turn(session))
    assert all(tool in said for tool in has) and not any(tool in said for tool in lacks), said
    server.delete(session)


def test_an_unknown_tool_is_named(server: Target) -> None:
    body = {**DOCUMENTED, "agent_config": {"allowed_tools": ["bash", "nonsense"]}}
    answer = server.http.post("/v1/sessions", json=body)
    assert answer.status_code == 400 and "nonsense" in answer.json()["error"]["message"]


def test_a_message_during_a_turn_is_queued_and_answered(server: Target) -> None:
    session = server.create("sleep 3")
    server.events(session, "assistant")
    assert server.send(session, "sleep 2")["status"] == "running"
    first = server.events(session, "turn_complete")
    assert server.get(session)["status"] == "running"
    second = server.events(session, "turn_complete", first[-1]["seq"])
    assert first[-1]["pending"] == 1 and second[-1]["pending"] == 0
    until(lambda: server.get(session)["status"] == "ready")
    server.delete(session)


def test_an_interrupt_stops_a_long_tool_call_and_the_session_goes_on(server: Target) -> None:
    session = server.create("sleep 600")
    server.events(session, "assistant")
    asked = server.http.post(f"/v1/sessions/{session['id']}/interrupt")
    assert asked.status_code == 200
    events = server.events(session, "turn_complete", seconds=10)
    assert "interrupted" in [event["type"] for event in events]
    assert events[-1]["reason"] == "interrupted"
    assert "5" in words(server.turn(server.get(session), "run: echo $((2+3))"))
    server.delete(session)


def test_delete_ends_everything_and_is_the_same_again(server: Target) -> None:
    session = server.create()
    server.events(session, "preview_ready")
    assert server.delete(session) == {"id": session["id"], "status": "ended"}
    assert server.preview(session).status_code == 410
    assert server.get(session)["status"] == "ended"
    assert server.delete(session) == {"id": session["id"], "status": "ended"}
    with server.http.stream("GET", f"/v1/sessions/{session['id']}/events") as replay:
        replay.read()
    assert '"type": "session_ended"' in replay.text.replace('":"', '": "')
    last = server.get(session)["lastSeq"]
    again = server.http.get(f"/v1/sessions/{session['id']}/events", headers={"Last-Event-ID": str(last)})
    assert again.status_code == 204


def test_delete_while_the_sandbox_is_still_starting(server: Target) -> None:
    session = server.create()
    assert server.delete(session)["status"] == "ended"
    assert server.preview(session).status_code == 410
    assert [e["type"] for e in server.stream(session)][-1] == "session_ended"


def test_two_sessions_serve_the_same_port_each_its_own_app(server: Target) -> None:
    made = [server.create(f"Build a landing page for {name}") for name in ("Aardvark", "Zebra")]
    for session, own, other in zip(made, ("Aardvark", "Zebra"), ("Zebra", "Aardvark"), strict=True):
        server.turn(session)
        page = server.preview(session).text
        assert own in page and other not in page
    for session in made:
        server.delete(session)


def test_the_original_clients_request_is_taken(server: Target) -> None:
    session = server.create(
        "say 3 words", agent_config={"systemPrompt": "Be kind.", "skills": {}}, user_email="", user_name=""
    )
    server.turn(session)
    server.delete(session)


def test_deltas_come_before_the_whole_and_change_nothing(server: Target) -> None:
    session = server.create("say 40 words")
    path = f"/v1/sessions/{session['id']}/events"
    kinds, numbered = [], []
    with server.http.stream("GET", path, params={"deltas": "1"}, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: delta"):
                kinds.append("delta")
            elif line.startswith("data: {") and '"seq"' in line:
                numbered.append(line)
                kinds.append("assistant" if '"type":"assistant"' in line.replace(" ", "") else "other")
            if '"turn_complete"' in line:
                break
    assert "delta" in kinds and kinds.index("delta") < kinds.index("assistant")
    plain = [f"data: {line}" for line in _plain(server, path)]
    assert plain == numbered
    server.delete(session)


def _plain(server: Target, path: str) -> list[str]:
    lines = []
    with server.http.stream("GET", path, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                lines.append(line.removeprefix("data: "))
            if '"turn_complete"' in line:
                return lines
    return lines


def test_the_key_is_needed(server: Target) -> None:
    assert server.key not in server.log()
    for path in ("/v1/sessions", "/v1/sessions/session_" + "0" * 32):
        assert server.http.get(path, headers={"X-API-Key": "wrong" * 8}).status_code == 401
