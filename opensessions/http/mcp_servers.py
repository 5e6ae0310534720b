"""MCP servers of a request: reached by URL, or started in the sandbox."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag

from opensessions.http.fields import Fields
from opensessions.http.strict_json import shown

_VALUE = re.compile(r"[^\x00-\x1f\x7f]*")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Argument = Annotated[str, StringConstraints(max_length=4096)]


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or not value.isprintable() or " " in value:
        raise ValueError("must be an http:// or https:// address")
    return value


def _line(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("must not hold control characters")
    return value


Line = Annotated[str, StringConstraints(max_length=8192), AfterValidator(_line)]


class RemoteServer(Fields):
    """An MCP server that is reached over HTTP; its host must be within the egress policy."""

    type: Literal["http", "sse"] = "http"
    url: Annotated[str, Field(max_length=2048), AfterValidator(_url)] = Field(
        examples=["https://mcp.example.com/mcp"], json_schema_extra={"format": "uri"}
    )
    headers: dict[Header, Line] = Field({}, max_length=32)


class StdioServer(Fields):
    """An MCP server that the agent starts in its sandbox."""

    type: Literal["stdio"] = "stdio"
    command: Annotated[str, AfterValidator(_line)] = Field(min_length=1, max_length=1024, examples=["npx"])
    args: list[Argument] = Field([], max_length=64)
    env: dict[Variable, Line] = Field({}, max_length=64)


def _kind(value: Any) -> str:
    given = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    local = given == "stdio" or (given is None and isinstance(value, dict) and "command" in value)
    return "(stdio)" if local else "(remote)"


Server = Annotated[
    Annotated[RemoteServer, Tag("(remote)")] | Annotated[StdioServer, Tag("(stdio)")], Discriminator(_kind)
]


def _bounded(value: Any) -> Any:
    """Refuse a long list before any member is looked at."""
    if isinstance(value, dict) and len(value) > 16:
        raise ValueError(f"has {len(value):,} servers; 16 are possible")
    return value


def _total(servers: dict[str, Any]) -> dict[str, Any]:
    sizes = {name: len(server.model_dump_json()) for name, server in servers.items()}
    if sum(sizes.values()) > 64 * 1024:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(f"is larger than 65,536 bytes; the largest is {shown(largest)}")
    return servers


McpServers = Annotated[dict[Name, Server], BeforeValidator(_bounded), AfterValidator(_total)]
