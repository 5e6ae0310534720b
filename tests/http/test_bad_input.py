"""What is refused, with which status and type, naming which field; and that nothing is stored then."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.fakes import World
from tests.http.conftest import Dump

GOOD: dict[str, Any] = {"prompt": "Build a todo app", "user_id": "u1"}
SESSIONS = "/v1/sessions"


def config(**parts: Any) -> dict[str, Any]:
    return {**GOOD, "agent_config": parts}


def server(**parts: Any) -> dict[str, Any]:
    return config(mcp_servers={"one": parts})


def limits(**parts: Any) -> dict[str, Any]:
    return {**GOOD, "limits": parts}


def origin(**parts: Any) -> dict[str, Any]:
    return {**GOOD, "from": parts}


SOME, PREPARED = f"session_{'0' * 32}", f"tpl_{'0' * 32}"

BODIES: list[tuple[str, Any, int, str | None]] = [
    ("no prompt", {"user_id": "u1"}, 400, "prompt"),
    ("null prompt", {**GOOD, "prompt": None}, 400, "prompt"),
    ("blank prompt", {**GOOD, "prompt": " \n\t"}, 400, "prompt"),
    ("prompt of the wrong type", {**GOOD, "prompt": ["x"]}, 400, "prompt"),
    ("prompt too long", {**GOOD, "prompt": "x" * 200_001}, 413, "prompt"),
    ("prompt too long in bytes", {**GOOD, "prompt": "é" * 100_001}, 413, "prompt"),
    ("no user_id", {"prompt": "x"}, 400, "user_id"),
    ("empty user_id", {**GOOD, "user_id": ""}, 400, "user_id"),
    ("blank user_id", {**GOOD, "user_id": "  "}, 400, "user_id"),
    ("number as user_id", {**GOOD, "user_id": 7}, 400, "user_id"),
    ("long user_id", {**GOOD, "user_id": "u" * 257}, 400, "user_id"),
    ("line break in user_id", {**GOOD, "user_id": "a\nb"}, 400, "user_id"),
    ("user_id in two spellings", {**GOOD, "userId": "u2"}, 400, None),
    ("long user_email", {**GOOD, "user_email": "e" * 321}, 400, "user_email"),
    ("user_name of the wrong type", {**GOOD, "user_name": {}}, 400, "user_name"),
    ("unknown field", {**GOOD, "promt": "x"}, 400, "promt"),
    ("limits a list", {**GOOD, "limits": []}, 400, "limits"),
    ("unknown limit", limits(idle_minutes=1), 400, "limits.idle_minutes"),
    ("idle for too short", limits(idle_seconds=59), 400, "limits.idle_seconds"),
    ("idle for too long", limits(idleSeconds=86_401), 400, "limits.idle_seconds"),
    ("idle for half a second", limits(idle_seconds=60.5), 400, "limits.idle_seconds"),
    ("idle for true", limits(idle_seconds=True), 400, "limits.idle_seconds"),
    ("idle as text", limits(idle_seconds="600"), 400, "limits.idle_seconds"),
    ("always awake, misspelt", limits(idle_seconds="Never"), 400, "limits.idle_seconds"),
    ("a workspace too small", limits(workspace_bytes=999_999), 400, "limits.workspace_bytes"),
    ("a workspace too large", limits(workspaceBytes=10**10 + 1), 400, "limits.workspace_bytes"),
    ("a workspace as text", limits(workspace_bytes="2 GB"), 400, "limits.workspace_bytes"),
    ("from a name", {**GOOD, "from": "session"}, 400, "from"),
    ("from nothing", origin(), 400, "from"),
    ("from version 1 of nothing", origin(version=1), 400, "from"),
    ("from both", origin(session=SOME, template=PREPARED), 400, "from"),
    ("from a template's version", origin(template=PREPARED, version=1), 400, "from"),
    ("from what is no session", origin(session=PREPARED), 400, "from.session"),
    ("from what is no template", origin(template=SOME), 400, "from.template"),
    ("from a session's folder", origin(session=f"{SOME}/.."), 400, "from.session"),
    ("from version 0", origin(session=SOME, version=0), 400, "from.version"),
    ("from version true", origin(session=SOME, version=True), 400, "from.version"),
    ("from a version as text", origin(session=SOME, version="1"), 400, "from.version"),
    ("from an endless version", origin(session=SOME, version=10**18), 400, "from.version"),
    ("unknown field of from", origin(session=SOME, turn=1), 400, "from.turn"),
    ("origin by its inner name", {**GOOD, "origin": {"session": SOME}}, 400, "origin"),
    ("unknown field inside", config(tools=[]), 400, "agent_config.tools"),
    ("agent_config a list", {**GOOD, "agent_config": []}, 400, "agent_config"),
    ("metadata a list", {**GOOD, "metadata": []}, 400, "metadata"),
    ("metadata of 17 pairs", {**GOOD, "metadata": {str(n): "" for n in range(17)}}, 400, "metadata"),
    ("metadata number", {**GOOD, "metadata": {"a": 1}}, 400, "metadata.a"),
    ("metadata nested", {**GOOD, "metadata": {"a": {}}}, 400, "metadata.a"),
    ("metadata long value", {**GOOD, "metadata": {"a": "v" * 513}}, 400, "metadata.a"),
    ("metadata empty key", {**GOOD, "metadata": {"": "v"}}, 400, "metadata."),
    ("system_prompt a number", config(system_prompt=1), 400, "agent_config.system_prompt"),
    ("system_prompt too long", config(systemPrompt="s" * 200_001), 413, "agent_config.system_prompt"),
    ("allowed_tools a string", config(allowed_tools="bash"), 400, "agent_config.allowed_tools"),
    ("unknown tool", config(allowed_tools=["bash", "nonsense"]), 400, "agent_config.allowed_tools"),
    ("server-side tool", config(allowed_tools=["WebSearch"]), 400, "agent_config.allowed_tools"),
    ("tool a number", config(allowed_tools=["bash", 1]), 400, "agent_config.allowed_tools[1]"),
    ("65 tools", config(allowed_tools=["bash"] * 65), 400, "agent_config.allowed_tools"),
    ("relative cwd", config(cwd="app"), 400, "agent_config.cwd"),
    ("cwd elsewhere", config(cwd="/etc"), 400, "agent_config.cwd"),
    ("cwd beside", config(cwd="/workspaces"), 400, "agent_config.cwd"),
    ("cwd upwards", config(cwd="/workspace/../etc"), 400, "agent_config.cwd"),
    ("cwd with a line break", config(cwd="/workspace/a\nb"), 400, "agent_config.cwd"),
    ("model as an option", config(model="--help"), 400, "agent_config.model"),
    ("empty model", config(model=""), 400, "agent_config.model"),
    ("no turns", config(max_turns=0), 400, "agent_config.max_turns"),
    ("too many turns", config(maxTurns=201), 400, "agent_config.max_turns"),
    ("half a turn", config(max_turns=1.5), 400, "agent_config.max_turns"),
    ("true turns", config(max_turns=True), 400, "agent_config.max_turns"),
    ("turns as text", config(max_turns="5"), 400, "agent_config.max_turns"),
    ("blank start_command", config(start_command=" "), 400, "agent_config.start_command"),
    ("start_command a list", config(startCommand=["npm"]), 400, "agent_config.start_command"),
    ("start_command too long", config(start_command="x" * 4097), 413, "agent_config.start_command"),
    ("allowed_hosts a string", config(allowed_hosts="a.com"), 400, "agent_config.allowed_hosts"),
    ("a URL as host", config(allowed_hosts=["https://a.com"]), 400, "agent_config.allowed_hosts"),
    ("a port in a host", config(allowed_hosts=["a.com:443"]), 400, "agent_config.allowed_hosts"),
    ("every host", config(allowed_hosts=["*"]), 400, "agent_config.allowed_hosts"),
    ("an address as host", config(allowed_hosts=["10.0.0.1"]), 400, "agent_config.allowed_hosts"),
    ("a star inside a host", config(allowed_hosts=["a.*.com"]), 400, "agent_config.allowed_hosts"),
    ("an empty label", config(allowed_hosts=["a..com"]), 400, "agent_config.allowed_hosts"),
    ("65 hosts", config(allowed_hosts=["a.com"] * 65), 400, "agent_config.allowed_hosts"),
    ("mcp_servers a list", config(mcp_servers=[]), 400, "agent_config.mcp_servers"),
    ("17 servers", config(mcp_servers={f"s{n}": {} for n in range(17)}), 400, "agent_config.mcp_servers"),
    ("server name", config(mcp_servers={"a b": {"command": "x"}}), 400, "agent_config.mcp_servers.a b"),
    ("server without anything", server(), 400, "agent_config.mcp_servers.one.url"),
    ("server type", server(type="ws", url="https://a.com"), 400, "agent_config.mcp_servers.one.type"),
    ("server url", server(url="file:///etc/passwd"), 400, "agent_config.mcp_servers.one.url"),
    ("server header", server(url="https://a.com", headers={"a": "b\r\nc: d"}), 400,
     "agent_config.mcp_servers.one.headers.a"),
    ("server variable", server(command="x", env={"A=B": "c"}), 400, "agent_config.mcp_servers.one.env.A=B"),
    ("server of both kinds", server(command="x", url="https://a.com"), 400,
     "agent_config.mcp_servers.one.url"),
    ("skills a number", config(skills=5), 400, "agent_config.skills"),
    ("skill a list", config(skills={"a.md": []}), 400, "agent_config.skills.a.md"),
]  # fmt: skip

SKILLS: list[tuple[str, dict[str, str], int]] = [
    ("upwards", {"../x": ""}, 400),
    ("upwards inside", {"a/../../x": ""}, 400),
    ("absolute", {"/x": ""}, 400),
    ("backslash", {"a\\b": ""}, 400),
    ("drive", {"C:x": ""}, 400),
    ("control character", {"a\x07b": ""}, 400),
    ("nameless", {"": ""}, 400),
    ("a dot", {".": ""}, 400),
    ("a folder", {"a/": ""}, 400),
    ("long path", {"a/" * 256 + "b": ""}, 400),
    ("long name", {"é" * 128: ""}, 400),
    ("one file twice", {"a//b": "", "a/./b": ""}, 400),
    ("a file that is a folder", {"a": "", "a/b": ""}, 400),
    ("65 files", {str(n): "" for n in range(65)}, 400),
    ("10,000 files", {str(n): "" for n in range(10_000)}, 400),
    ("over 256 KiB", {"a": "x" * 150_000, "b": "x" * 150_000}, 413),
]

RAW: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("half", b'{"prompt": "x", "user_id"'),
    ("not UTF-8", b'{"prompt": "\xff", "user_id": "u1"}'),
    ("UTF-16", '{"prompt": "x", "user_id": "u1"}'.encode("utf-16")),
    ("a byte order mark", b'\xef\xbb\xbf{"prompt": "x", "user_id": "u1"}'),
    ("a list", b'[{"prompt": "x", "user_id": "u1"}]'),
    ("a string", b'"prompt"'),
    ("null", b"null"),
    ("two objects", b'{"prompt": "x", "user_id": "u1"}{}'),
    ("10,000 levels", b'{"prompt": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    ("65 levels", b'{"prompt": ' + b"[" * 64 + b"]" * 64 + b"}"),
    ("a million digits", b'{"prompt": ' + b"9" * 1_000_000 + b"}"),
    ("a huge integer", b'{"prompt": 9223372036854775808}'),
    ("a huge number", b'{"prompt": 1e999}'),
    ("NaN", b'{"prompt": NaN}'),
    ("minus infinity", b'{"prompt": -Infinity}'),
    ("half a surrogate pair", rb'{"prompt": "\ud800", "user_id": "u1"}'),
    ("half a surrogate pair as a name", rb'{"prompt": "x", "user_id": "u1", "\udfff": 1}'),
    ("NUL", rb'{"prompt": "a\u0000b", "user_id": "u1"}'),
    ("a name twice", b'{"prompt": "x", "prompt": "y", "user_id": "u1"}'),
    ("a name twice inside", b'{"prompt": "x", "user_id": "u1", "metadata": {"a": "", "a": ""}}'),
]


@pytest.fixture(autouse=True)
def unchanged(client: TestClient, dump: Dump) -> Iterator[None]:
    """The store is the same after each of these."""
    before = dump()
    yield
    assert dump() == before


def refused(response: Any, status: int, field: str | None = None) -> str:
    kinds = {400: "invalid_request", 401: "unauthorized", 404: "not_found", 409: "conflict", 413: "too_large"}
    error = response.json()["error"]
    assert (response.status_code, error["type"], error.get("field")) == (status, kinds[status], field)
    assert error["request_id"] == response.headers["X-Request-Id"]
    return str(error["message"])


@pytest.mark.parametrize(("body", "status", "field"), [pytest.param(*row[1:], id=row[0]) for row in BODIES])
def test_create_refuses(client: TestClient, body: Any, status: int, field: str | None) -> None:
    message = refused(client.post(SESSIONS, json=body), status, field)
    assert (field or "user_id") in message


@pytest.mark.parametrize(("skills", "status"), [pytest.param(*row[1:], id=row[0]) for row in SKILLS])
def test_o27_skills_stay_in_their_place(client: TestClient, skills: dict[str, str], status: int) -> None:
    refused(client.post(SESSIONS, json=config(skills=skills)), status, "agent_config.skills")


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw in RAW])
def test_o26_json_with_two_meanings_or_none(client: TestClient, raw: bytes) -> None:
    refused(client.post(SESSIONS, content=raw, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_o26_a_body_over_1_mib_is_not_read_to_its_end(client: TestClient, declared: bool) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        while sent < 64 * 2**20:
            sent += 2**16
            yield b" " * 2**16

    headers = {"Content-Type": "application/json"} | ({"Content-Length": str(2**20 + 1)} if declared else {})
    content = b" " * (2**20 + 1) if declared else chunks()
    response = client.post(SESSIONS, content=content, headers=headers)
    refused(response, 413)
    assert response.headers["Connection"] == "close"


@pytest.mark.parametrize("media", ["text/plain", "multipart/form-data", "", "application/jsonp"])
def test_only_json_is_taken(client: TestClient, media: str) -> None:
    response = client.post(SESSIONS, content=json.dumps(GOOD), headers={"Content-Type": media})
    assert "application/json" in refused(response, 400)


@pytest.mark.parametrize("key", ["", "a#b", "x" * 256, "x" * 10_240, "a\tb", "é"])
def test_o24_idempotency_keys_are_short_and_printable(client: TestClient, key: str) -> None:
    response = client.post(SESSIONS, json=GOOD, headers={"Idempotency-Key": key.encode("latin-1")})
    refused(response, 400, "Idempotency-Key")


QUERIES = [
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=-1", "limit"),
    ("limit=ten", "limit"),
    ("limit=1.5", "limit"),
    ("limit=", "limit"),
    ("limit=" + "9" * 5000, "limit"),
    ("status=sleeping", "status"),
    ("status=", "status"),
    ("cursor=", "cursor"),
    ("cursor=%00", "cursor"),
    ("cursor=" + "a" * 1025, "cursor"),
    ("cursor=AAAA", "cursor"),
    ("cursor=0", "cursor"),
    ("user_id=", "user_id"),
    ("user_id=%00", "user_id"),
    ("user_id=" + "u" * 257, "user_id"),
]


@pytest.mark.parametrize(("query", "field"), QUERIES, ids=[query[:30] for query, _ in QUERIES])
def test_o25_lists_refuse(client: TestClient, query: str, field: str) -> None:
    refused(client.get(f"{SESSIONS}?{query}"), 400, field)


PAGE_QUERIES = ["after=-1", "after=x", "after=1e3", "after=1000000000000", "after=", "limit=0", "limit=501"]


@pytest.mark.parametrize("query", PAGE_QUERIES)
def test_o25_pages_of_events_refuse(here: World, client: TestClient, query: str, dump: Dump) -> None:
    refused(client.get(f"{SESSIONS}/session_{'0' * 32}/events/page?{query}"), 400, query.partition("=")[0])


MESSAGES: list[tuple[Any, int, str]] = [
    ({"user_id": "u1"}, 400, "message"),
    ({"message": " ", "user_id": "u1"}, 400, "message"),
    ({"message": 5, "user_id": "u1"}, 400, "message"),
    ({"message": "x" * 200_001, "user_id": "u1"}, 413, "message"),
    ({"message": "x"}, 400, "user_id"),
    ({"message": "x", "user_id": "u1", "text": "y"}, 400, "text"),
]


@pytest.mark.parametrize(("body", "status", "field"), MESSAGES)
def test_messages_refuse(client: TestClient, body: Any, status: int, field: str) -> None:
    refused(client.post(f"{SESSIONS}/{SOME}/messages", json=body), status, field)


RESTORATIONS: list[tuple[Any, str]] = [
    ({}, "version"),
    ({"version": None}, "version"),
    ({"version": 0}, "version"),
    ({"version": -1}, "version"),
    ({"version": 10**12}, "version"),
    ({"version": 1.5}, "version"),
    ({"version": "1"}, "version"),
    ({"version": True}, "version"),
    ({"version": 1, "number": 1}, "number"),
    ({"version": 1, "user_id": ""}, "user_id"),
    ({"version": 1, "userId": 7}, "user_id"),
]


@pytest.mark.parametrize(("body", "field"), RESTORATIONS)
def test_restorations_refuse(client: TestClient, body: Any, field: str) -> None:
    refused(client.post(f"{SESSIONS}/{SOME}/restore", json=body), 400, field)


TEMPLATES: list[tuple[Any, str]] = [
    ({"name": "x"}, "session"),
    ({"session": SOME}, "name"),
    ({"session": "session_1", "name": "x"}, "session"),
    ({"session": PREPARED, "name": "x"}, "session"),
    ({"session": SOME, "name": ""}, "name"),
    ({"session": SOME, "name": " "}, "name"),
    ({"session": SOME, "name": "n" * 129}, "name"),
    ({"session": SOME, "name": 1}, "name"),
    ({"session": SOME, "name": "x", "version": 1}, "version"),
    ({"session": SOME, "name": "x", "user_id": " "}, "user_id"),
]


@pytest.mark.parametrize(("body", "field"), TEMPLATES)
def test_templates_refuse(client: TestClient, body: Any, field: str) -> None:
    refused(client.post("/v1/templates", json=body), 400, field)


PARTS = [
    ("GET", f"{SOME}/versions?limit=0", "limit"),
    ("GET", f"{SOME}/versions?limit=101", "limit"),
    ("GET", f"{SOME}/versions?limit=all", "limit"),
    ("GET", f"{SOME}/versions?after=-1", "after"),
    ("GET", f"{SOME}/versions?after=1000000000000", "after"),
    ("GET", f"{SOME}/versions?user_id=", "user_id"),
    ("GET", f"{SOME}/versions/0/diff", "number"),
    ("GET", f"{SOME}/versions/-1/diff", "number"),
    ("GET", f"{SOME}/versions/one/diff", "number"),
    ("GET", f"{SOME}/versions/1.5/diff", "number"),
    ("GET", f"{SOME}/versions/{10**12}/diff", "number"),
    ("GET", f"{SOME}/versions/1/diff?user_id=%00", "user_id"),
    ("POST", f"{SOME}/hibernate?user_id=", "user_id"),
    ("DELETE", f"{SOME}?purge=maybe", "purge"),
    ("DELETE", f"{SOME}?purge=", "purge"),
    ("DELETE", f"{SOME}?purge=2", "purge"),
]


@pytest.mark.parametrize(("method", "rest", "field"), PARTS)
def test_the_newer_calls_refuse(client: TestClient, method: str, rest: str, field: str) -> None:
    refused(client.request(method, f"{SESSIONS}/{rest}"), 400, field)


def test_original_texts(client: TestClient) -> None:
    unknown = f"{SESSIONS}/session_{'0' * 32}"
    texts = [
        refused(client.post(SESSIONS, json={}), 400, "prompt"),
        refused(client.post(SESSIONS, json={"prompt": "x"}), 400, "user_id"),
        refused(client.post(f"{unknown}/messages", json={"user_id": "u1"}), 400, "message"),
        refused(client.post(f"{unknown}/messages", json={"message": "x"}), 400, "user_id"),
        refused(client.get(unknown), 404),
    ]
    assert texts == [
        "prompt is required",
        "user_id is required",
        "message is required",
        "user_id is required",
        "Session not found",
    ]


def test_all_unknown_fields_are_named_but_not_a_thousand_of_them(client: TestClient) -> None:
    message = refused(client.post(SESSIONS, json={**GOOD, "b": 1, "a": 2}), 400, "b")
    assert message == "Unknown fields: b, a"
    many = refused(client.post(SESSIONS, json={**GOOD, **{f"f{n}": n for n in range(1000)}}), 400, "f0")
    assert len(many) < 200


def test_a_field_named_at_great_length_is_shortened(client: TestClient) -> None:
    response = client.post(SESSIONS, json={**GOOD, "x" * 100_000: 1})
    assert response.status_code == 400 and len(response.content) < 1000
