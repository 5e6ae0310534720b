"""What is accepted, and what becomes of it."""

from typing import Any

import pytest

from opensessions.http.agent_config import TOOLS
from opensessions.http.requests import NewMessage, NewSession
from opensessions.models import AgentConfig, Limits, Origin

GOOD: dict[str, Any] = {"prompt": "x", "user_id": "u1"}


def config(**parts: Any) -> AgentConfig:
    return NewSession.read({**GOOD, "agent_config": parts}).to_model().config


def test_the_defaults() -> None:
    new = NewSession.read(GOOD).to_model()
    assert new.config == AgentConfig()
    assert (new.user_email, new.user_name, new.metadata) == ("", "", {})
    assert (new.limits, new.origin) == (Limits(idle_seconds=600, workspace_bytes=2 * 10**9), None)


def test_the_body_of_the_original() -> None:
    skills = {".claude/skills/build-app/SKILL.md": "Use Vite."}
    new = NewSession.read(
        {
            "prompt": "Build a todo app",
            "user_id": "u1",
            "user_email": "",
            "user_name": "",
            "agent_config": {"systemPrompt": "Be brief.", "skills": skills},
        }
    ).to_model()
    assert (new.config.system_prompt, new.config.skills) == ("Be brief.", skills)


def test_both_spellings_everywhere() -> None:
    snake = {
        "prompt": "x",
        "user_id": "u1",
        "user_email": "not an address",
        "user_name": "Ada",
        "agent_config": {
            "system_prompt": "s",
            "allowed_tools": ["bash"],
            "max_turns": 3,
            "mcp_servers": {"one": {"command": "npx", "env": {"SOME_KEY": "v"}}},
            "allowed_hosts": ["a.com"],
            "start_command": "npm run dev",
        },
        "metadata": {"some_key": "v"},
        "limits": {"idle_seconds": 60, "workspace_bytes": 1_000_000},
    }
    camel = {
        "prompt": "x",
        "userId": "u1",
        "userEmail": "not an address",
        "userName": "Ada",
        "agentConfig": {
            "systemPrompt": "s",
            "allowedTools": ["bash"],
            "maxTurns": 3,
            "mcpServers": {"one": {"command": "npx", "env": {"SOME_KEY": "v"}}},
            "allowedHosts": ["a.com"],
            "startCommand": "npm run dev",
        },
        "metadata": {"some_key": "v"},
        "limits": {"idleSeconds": 60, "workspaceBytes": 1_000_000},
    }
    assert NewSession.read(snake) == NewSession.read(camel)
    assert NewMessage.read({"message": "m", "userId": "u"}) == NewMessage.read(
        {"message": "m", "user_id": "u"}
    )


def test_null_is_the_same_as_absent() -> None:
    absent = dict.fromkeys(["user_email", "user_name", "agent_config", "metadata", "limits", "from"])
    assert NewSession.read({**GOOD, **absent}) == NewSession.read(GOOD)
    assert config(**dict.fromkeys(AgentConfig.model_fields)) == AgentConfig()


@pytest.mark.parametrize("spell", [str.lower, str.upper, str])
def test_tools_in_any_case_become_the_agents_own_names(spell: Any) -> None:
    assert config(allowed_tools=[spell(name) for name in TOOLS]).allowed_tools == TOOLS


def test_no_tools_are_no_tools_and_twice_is_once() -> None:
    assert config(allowed_tools=[]).allowed_tools == ()
    assert config(allowed_tools=["bash", "Bash", "read"]).allowed_tools == ("Bash", "Read")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("a.md", "a.md"),
        ("./a//b/./c.md", "a/b/c.md"),
        (".claude/skills/é ü/SKILL.md", ".claude/skills/é ü/SKILL.md"),
        ("..a/b..", "..a/b.."),
        ("ab:c", "ab:c"),
    ],
)
def test_skills_paths_are_made_plain(given: str, path: str) -> None:
    assert config(skills={given: "x"}).skills == {path: "x"}


def test_skills_up_to_their_bounds() -> None:
    assert len(config(skills={f"d/{n}": "x" * 4096 for n in range(64)}).skills) == 64


@pytest.mark.parametrize(
    ("given", "cwd"),
    [
        ("/workspace", "/workspace"),
        ("/workspace/app/", "/workspace/app"),
        ("/workspace//a/./b", "/workspace/a/b"),
    ],
)
def test_cwd_is_made_plain(given: str, cwd: str) -> None:
    assert config(cwd=given).cwd == cwd


def test_no_list_of_hosts_is_not_an_empty_list() -> None:
    assert config().allowed_hosts is None
    assert config(allowed_hosts=None).allowed_hosts is None
    assert config(allowed_hosts=[]).allowed_hosts == ()
    hosts = ["Example.com", ".example.org", "*.a-b.example.net", "xn--bcher-kva.example", "example.com"]
    kept = ("example.com", ".example.org", "*.a-b.example.net", "xn--bcher-kva.example")
    assert config(allowed_hosts=hosts).allowed_hosts == kept


def test_mcp_servers_as_the_agent_wants_them() -> None:
    servers = {
        "web": {"url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer x"}},
        "old": {"type": "sse", "url": "http://mcp.example.com:8080/sse"},
        "own": {"command": "npx", "args": ["-y", "some-server"], "env": {"TOKEN": "x"}},
        "typed": {"type": "stdio", "command": "some-server"},
    }
    assert config(mcp_servers=servers).mcp_servers == {
        "web": {"type": "http", **servers["web"]},
        "old": {**servers["old"], "headers": {}},
        "own": {"type": "stdio", **servers["own"]},
        "typed": {**servers["typed"], "args": [], "env": {}},
    }


def test_texts_up_to_their_bounds() -> None:
    largest = {"prompt": "é" * 100_000, "user_id": "u" * 256, "user_email": "e" * 320, "user_name": "n" * 320}
    assert NewSession.read(largest).to_model().prompt == largest["prompt"]


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({}, Limits()),
        ({"idle_seconds": "never"}, Limits(idle_seconds=None)),
        ({"idle_seconds": 86_400}, Limits(idle_seconds=86_400)),
        ({"workspace_bytes": 10**10}, Limits(workspace_bytes=10**10)),
        ({"cost_usd": 5, "tokens": 10, "turns": None}, Limits(cost_usd=5.0, tokens=10)),
        ({"turnSeconds": 10, "lifetimeSeconds": 60}, Limits(turn_seconds=10, lifetime_seconds=60)),
        ({"cost_usd": 0.01, "egress_bytes": 0, "turns": 1}, Limits(cost_usd=0.01, egress_bytes=0, turns=1)),
        ({"idle_seconds": None, "workspace_bytes": None}, Limits()),
    ],
)
def test_limits(given: dict[str, Any], limits: Limits) -> None:
    assert NewSession.read({**GOOD, "limits": given}).to_model().limits == limits


SOME, PREPARED = f"session_{'a' * 32}", f"tpl_{'a' * 32}"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ({"session": SOME}, Origin(session_id=SOME)),
        ({"session": SOME, "version": 7}, Origin(session_id=SOME, version=7)),
        ({"session": SOME, "version": None, "template": None}, Origin(session_id=SOME)),
        ({"template": PREPARED}, Origin(template_id=PREPARED)),
    ],
)
def test_origins(given: dict[str, Any], origin: Origin) -> None:
    assert NewSession.read({**GOOD, "from": given}).to_model().origin == origin


def test_a_start_command_is_taken_as_it_is() -> None:
    assert config().start_command is None
    assert config(start_command=" cd web && npm run dev\n").start_command == " cd web && npm run dev\n"
