"""`agent_config` of a request: what the agent is told, what it has, and what it may reach."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from opensessions import models
from opensessions.http.fields import Fields, bounded
from opensessions.http.mcp_servers import McpServers
from opensessions.http.skills import Skills
from opensessions.http.strict_json import shown

TOOLS = ("Bash", "Read", "Write", "Edit", "Glob", "Grep", "NotebookEdit", "WebFetch", "Task", "Skill")
"""The built-in tools that can be allowed. WebSearch runs on the model's servers and is not among them."""

MOST_TURNS = 200
MOST_NAMES = 64
LONGEST_PATH = 512

_CANONICAL = {name.lower(): name for name in TOOLS}
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:\*?\.{_LABEL}|{_LABEL}\.{_LABEL})(?:\.{_LABEL})*")
_MODEL = r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}$"


def _system_prompt(value: str) -> str:
    return bounded(value, "agent_config.system_prompt")


def _start_command(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("must be a command")
    return bounded(value, "agent_config.start_command", 4096)


def _tools(names: list[str]) -> list[str]:
    for name in names:
        if name.lower() not in _CANONICAL:
            raise ValueError(f"names an unknown tool, {shown(name)}; the tools are {', '.join(TOOLS)}")
    return list(dict.fromkeys(_CANONICAL[name.lower()] for name in names))


def _cwd(path: str) -> str:
    steps = [step for step in path.split("/") if step not in ("", ".")]
    if not path.isprintable() or "\\" in path or ".." in steps:
        raise ValueError("must be a plain path without '..' or backslashes")
    if not path.startswith("/") or steps[:1] != ["workspace"]:
        raise ValueError("must be an absolute path under /workspace")
    return "/" + "/".join(steps)


def _hosts(names: list[str]) -> list[str]:
    for name in names:
        last = name.rpartition(".")[2]
        if len(name) > 253 or not _HOST.fullmatch(name.lower()) or last.isdecimal():
            raise ValueError(f"holds {shown(name)}; write a host as example.com or *.example.com")
    return list(dict.fromkeys(name.lower() for name in names))


class AgentConfig(Fields):
    """How the agent works. Names may be written in camelCase too."""

    system_prompt: Annotated[str, AfterValidator(_system_prompt)] | None = Field(
        None, description="Added to the agent's own.", examples=["You build small, tidy web apps."]
    )
    skills: Skills = Field(
        {},
        description="Files for the agent, by their path relative to /workspace/agent: "
        "at most 64, 256 KiB in all.",
        examples=[{".claude/skills/build-app/SKILL.md": "Use Vite."}],
    )
    allowed_tools: Annotated[list[str], Field(max_length=MOST_NAMES), AfterValidator(_tools)] = Field(
        ["Bash", "Read", "Write", "Edit", "Glob", "Grep"],
        description=f"The only tools that the agent has, in any letter case: {', '.join(TOOLS)}. "
        "Skill is added when skills are given.",
        examples=[["bash", "read", "write", "edit", "glob", "grep"]],
    )
    cwd: Annotated[str, Field(max_length=LONGEST_PATH), AfterValidator(_cwd)] = Field(
        "/workspace/app",
        description="Where the agent works: a path under /workspace.",
        examples=["/workspace/app"],
    )
    model: Annotated[str, StringConstraints(pattern=_MODEL)] | None = Field(
        None, description="The model's name; the server's default when left out."
    )
    max_turns: int = Field(
        50, ge=1, le=MOST_TURNS, description="Model calls at most for one message.", examples=[50]
    )
    mcp_servers: McpServers = Field({}, description="MCP servers by name, for more tools: at most 16.")
    allowed_hosts: Annotated[list[str], Field(max_length=MOST_NAMES), AfterValidator(_hosts)] | None = Field(
        None,
        description="The only hosts that the sandbox reaches, as example.com or *.example.com. "
        "An empty list means none; left out, the server's own policy is all that holds.",
        examples=[["api.example.com", "*.example.org"]],
    )

    start_command: Annotated[str, AfterValidator(_start_command)] | None = Field(
        None,
        description="A shell command, run in `cwd`, that starts the preview again after a sleep. Without it, "
        "what was seen to listen before is started.",
        examples=["npm run dev"],
    )

    preview: Literal["public", "private"] = Field(
        "public",
        description="`private`: previews are for those alone who come with a token of the scope `preview`.",
        examples=["public"],
    )

    def to_model(self) -> models.AgentConfig:
        servers: dict[str, dict[str, Any]] = {
            name: server.model_dump(exclude_none=True) for name, server in self.mcp_servers.items()
        }
        hosts = self.allowed_hosts
        return models.AgentConfig(
            system_prompt=self.system_prompt or None,
            skills=self.skills,
            allowed_tools=tuple(self.allowed_tools),
            cwd=self.cwd,
            model=self.model,
            max_turns=self.max_turns,
            mcp_servers=servers,
            allowed_hosts=None if hosts is None else tuple(hosts),
            start_command=self.start_command,
            preview=self.preview,
        )
