"""Which requests a sandbox may make of the model: a table of what passes and of what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.model_body import BadRequest, ModelRules, judge
from gateway.model_failure import failure
from gateway.model_upstream import known_betas

ASK: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
RULES = ModelRules(frozenset(("m", "n")), 1000)


def ask(**more: Any) -> bytes:
    return json.dumps({**ASK, **more}).encode()


def said(*blocks: Any, role: str = "user") -> bytes:
    return ask(messages=[{"role": role, "content": list(blocks)}])


def late(tool: Any) -> bytes:
    return said({"type": "tool_addition", "tool": tool}, role="system")


def source(**fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": fields}


def result(*blocks: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": list(blocks)}


REFUSED = {
    "I25 web_search": (ask(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "web_search"),
    "I25 web_fetch": (ask(tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}]), "web_fetch"),
    "I25 code_execution": (ask(tools=[{"type": "code_execution_20250825", "name": "c"}]), "code_execution"),
    "I25 toolset": (ask(tools=[{"type": "mcp_toolset", "mcp_server_name": "x"}]), "mcp_toolset"),
    "I25 second tool": (ask(tools=[{"name": "a"}, {"type": "advisor_20260301"}]), "tools.1"),
    "I25 tool type list": (ask(tools=[{"type": ["web_search_20250305"]}]), "tools.0.type"),
    "I25 tool type suffix": (ask(tools=[{"type": "bash_20250124\n"}]), "tools.0.type"),
    "I25 late server tool": (
        late({"type": "tool_definition", "definition": {"type": "web_fetch_20250910", "name": "f"}}),
        "web_fetch",
    ),
    "I25 late tool, odd kind": (late({"type": "mcp_toolset"}), "mcp_toolset"),
    "I25 mcp_servers": (ask(mcp_servers=[{"type": "url", "url": "https://x.test"}]), "mcp_servers"),
    "I25 container": (ask(container="container_1"), "container"),
    "I25 source url": (said(source(type="url", url="https://x.test/a.pdf")), "url"),
    "I25 source file": (said(source(type="file", file_id="file_1")), "file"),
    "I25 image url": (said({"type": "image", "source": {"type": "url", "url": "http://x.test"}}), "url"),
    "I25 url in a result": (said(result(source(type="url", url="https://x.test"))), "content.0.source"),
    "I25 file in a document": (
        said(source(type="content", content=[source(type="file", file_id="f")])), "source.content.0.source",
    ),
    "I25 file in system": (ask(system=[source(type="file", file_id="f")]), "system.0.source"),
    "I25 base64 with a file": (said(source(type="base64", data="", file_id="f")), "file_id"),
    "I25 container_upload": (said({"type": "container_upload", "file_id": "f"}), "container_upload"),
    "I25 stored thing beside": (said({"type": "text", "text": "x", "file_id": "f"}), "file_id"),
    "I25 stored thing below": (said({"type": "text", "text": "x", "extra": [{"file_id": "f"}]}), "file_id"),
    "I25 past server tool": (said({"type": "server_tool_use", "name": "web_search"}), "server_tool_use"),
    "I25 called from code": (
        said({"type": "tool_use", "caller": {"type": "code_execution_20250825", "tool_id": "x"}}), "caller",
    ),
    "I26 foreign model": (ask(model="claude-huge"), "claude-huge"),
    "I26 no model": (ask(model=None), "model"),
    "I26 model in a list": (ask(model=["m"]), "model"),
    "I26 foreign fallback": (ask(fallbacks=[{"model": "claude-huge"}]), "fallbacks.0.model"),
    "I26 server's own fallback": (ask(fallbacks="default"), "fallbacks"),
    "I26 max_tokens": (ask(max_tokens=10**9), "1000000000"),
    "I26 max_tokens of a fallback": (ask(fallbacks=[{"model": "n", "max_tokens": 10**9}]), "fallbacks.0"),
    "I26 max_tokens true": (ask(max_tokens=True), "max_tokens"),
    "I26 max_tokens a float": (ask(max_tokens=1e9), "max_tokens"),
    "I26 no max_tokens": (ask(max_tokens=None), "max_tokens"),
    "I26 negative": (ask(max_tokens=-1), "max_tokens"),
    "fast mode": (ask(speed="fast"), "speed"),
    "priority": (ask(service_tier="priority"), "service_tier"),
    "stored thread": (ask(thread={"type": "continue", "id": "x"}), "thread"),
    "unknown field": (ask(**{"hop\r\n<b>": 1}), "hop??<b>"),
    "unknown field of a message": (ask(messages=[{"role": "user", "content": "", "x": 1}]), "messages.0.x"),
    "message is no object": (ask(messages=["hi"]), "messages.0"),
    "messages is no list": (ask(messages={"role": "user"}), "messages"),
    "content is an object": (ask(messages=[{"role": "user", "content": {"type": "text"}}]), "content"),
    "block is a text": (said("hi"), "content.0"),
    "tool is a text": (ask(tools=["web_search"]), "tools.0"),
    "nothing": (b"", "JSON"),
    "no JSON": (b"{", "JSON"),
    "a list": (b"[]", "object"),
    "deep": (b"[" * 100_000, "JSON"),
    "deep results": (said(json.loads('{"type":"tool_result","content":[' * 20 + "]}" * 20)), "content"),
    "NaN": (ask(temperature=float("nan")), "JSON"),
    "infinity": (b'{"temperature": 1e999}', "JSON"),
    "many digits": (b'{"max_tokens": ' + b"9" * 100_000 + b"}", "JSON"),
    "no UTF-8": (b'{"model": "\xff"}', "JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    raw, named = REFUSED[case]
    with pytest.raises(BadRequest) as refusal:
        judge(raw, RULES, "session_a")
    assert named in str(refusal.value)
    assert str(refusal.value).isprintable()


FREE = {"url": "https://x.test", "file_id": "f", "container": "c", "source": {"type": "url"}}
PASSED = {
    "plain": ask(),
    "client tools": ask(
        tools=[
            {"name": "Bash", "input_schema": {"properties": FREE}, "cache_control": {"type": "ephemeral"}},
            {"type": "custom", "name": "x", "input_schema": {}, "defer_loading": True},
            {"type": "bash_20250124", "name": "bash"},
        ]
    ),
    "a tool's input is free": said({"type": "tool_use", "id": "t", "input": FREE}, role="assistant"),
    "a direct caller": said({"type": "tool_use", "input": {}, "caller": {"type": "direct"}}),
    "results": said(result({"type": "text", "text": "x"}, source(type="base64", media_type="m", data="A"))),
    "search result": said({"type": "search_result", "source": "https://x.test", "title": "t", "content": []}),
    "late client tool": late({"type": "tool_definition", "definition": {"name": "x", "input_schema": {}}}),
    "late reference": late({"type": "tool_reference", "name": "x"}),
    "system": ask(system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]),
    "fallback": ask(fallbacks=[{"model": "n", "max_tokens": 5}]),
    "what an agent sets": ask(
        thinking={"type": "adaptive", "display": "updates"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"effort": "medium"}, stream=True, temperature=0.5, speed="standard",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSED)
def test_passed_unchanged_but_for_who_asks(case: str) -> None:
    call = judge(PASSED[case], RULES, "session_a")
    assert json.loads(call.body) == {**json.loads(PASSED[case]), "metadata": {"user_id": "session_a"}}
    assert (call.model, call.max_tokens) == ("m", 10)


def test_a_field_given_twice_leaves_once() -> None:
    raw = b'{"model":"claude-huge","model":"m","max_tokens":1,"messages":[]}'
    assert judge(raw, RULES, "s").body.count(b"model") == 1


def test_counting_needs_no_max_tokens_and_adds_nothing() -> None:
    body = {"model": "m", "messages": []}
    assert json.loads(judge(json.dumps(body).encode(), RULES, "s", counting=True).body) == body


@pytest.mark.parametrize(
    ("header", "passed"),
    [
        ("", ""),
        ("claude-code-20250219, effort-2025-11-24", "claude-code-20250219,effort-2025-11-24"),
        ("files-api-2025-04-14,effort-2025-11-24,mcp-client-2025-04-04", "effort-2025-11-24"),
        ("code-execution-2025-08-25,skills-2025-10-02,fast-mode-2026-02-01,managed-agents-2026-04-01", ""),
        ("effort", ""),
        ("effort-2025-11-24\r\nx-api-key: mine", ""),
    ],
)
def test_i26_unknown_betas_are_dropped(header: str, passed: str) -> None:
    assert known_betas(header) == passed


@pytest.mark.parametrize(
    "status", [300, 302, 304, 400, 401, 402, 403, 404, 409, 413, 418, 429, 500, 503, 529]
)
def test_i28_every_failure_has_a_text_of_our_own(status: int) -> None:
    told = failure(status, "organization org_canary: bad key sk-canary")
    assert "canary" not in told.text and 400 <= told.status < 600


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, "
        "decrease input length or `max_tokens` and try again",
    ],
)
def test_texts_by_which_agents_shorten_their_conversation_are_told(message: str) -> None:
    assert failure(400, message).text == message
    assert failure(400, message + " org_canary").text != message + " org_canary"
