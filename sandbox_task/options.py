"""How the agent is started."""

import json
import os
from collections.abc import Callable, Reversible, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from claude_agent_sdk import ClaudeAgentOptions

from opensessions.events import Assign, HistoryMessage
from sandbox_task.relays import with_credentials
from sandbox_task.settings import Paths
from sandbox_task.surroundings import Surroundings

_BUFFER = 32 * 1024 * 1024
_HISTORY = 60_000
_FOR_EVER = 36_500
"""Days for which the agent keeps a conversation, as a session may sleep for longer than the usual 30."""


def environment(assign: Assign, around: Surroundings, paths: Paths) -> dict[str, str]:
    """The environment of the agent and of every program that it starts."""
    proxy = with_credentials(around.egress_url, "sandbox", around.egress_token)
    direct = ",".join(
        dict.fromkeys(["localhost", "127.0.0.1", "::1", urlsplit(around.model_url).hostname or ""])
    )
    return {
        "HOME": str(paths.home),
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "ANTHROPIC_BASE_URL": around.model_url,
        "ANTHROPIC_API_KEY": around.model_token,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), direct),
        "NODE_USE_ENV_PROXY": "1",
        "PREVIEW_URL": assign.preview_url.replace("{port}", "3000"),
        "PREVIEW_URL_TEMPLATE": assign.preview_url,
        "BROWSER": "none",
    }


def options(
    assign: Assign,
    around: Surroundings,
    paths: Paths,
    skills: Sequence[str],
    stderr: Callable[[str], None],
    resume: str | None = None,
) -> ClaudeAgentOptions:
    """Everything but the prompt. `resume` is the agent's own id of an earlier conversation."""
    tools = list(dict.fromkeys([*assign.tools, *(["Skill"] if skills else [])]))
    return ClaudeAgentOptions(
        tools=tools,
        permission_mode="bypassPermissions",
        system_prompt={"type": "preset", "preset": "claude_code", "append": _instructions(assign)},
        # Skills are read from the added folder, and that only if project settings are. A hook in them would
        # give an agent without Bash a way to run commands.
        setting_sources=["project"],
        add_dirs=[paths.agent],
        settings=json.dumps({"disableAllHooks": True, "cleanupPeriodDays": _FOR_EVER}),
        mcp_servers=cast(dict[str, Any], assign.mcp_servers),
        strict_mcp_config=True,
        max_turns=assign.max_turns,
        model=assign.model,
        cwd=paths.inside(assign.cwd),
        env=environment(assign, around, paths),
        # A tool result with a picture in it passes the usual bound of 1 MB a line, and the agent would die.
        max_buffer_size=_BUFFER,
        stderr=stderr,
        resume=resume,
    )


def _instructions(assign: Assign) -> str:
    url = assign.preview_url.replace("{port}", "3000")
    about = [
        "You work in a sandbox of its own, for a user who watches a live preview.",
        f"What listens on port 3000 there is shown at {url} (other ports from 1024 up: the same name with "
        "that port). Listening on localhost is enough. Start servers in the background and leave them "
        "running; prefer a dev server that reloads by itself.",
        "The internet is reached only through the proxy that HTTPS_PROXY names.",
    ]
    if assign.skills:
        about.append("Files that the user gave you are in /workspace/agent.")
    return "\n".join([*about, *(["", assign.system_prompt] if assign.system_prompt else [])])


def with_history(history: Reversible[HistoryMessage], text: str) -> str:
    """A prompt that tells first what was said before, the newest of it if it is long."""
    lines: list[str] = []
    left = _HISTORY
    for message in reversed(history):
        line = f"{message.role}: {message.content}"[:left]
        left -= len(line)
        if line:
            lines.insert(0, line)
    if not lines:
        return text
    said = "\n\n".join(lines)
    return f"<earlier_conversation>\n{said}\n</earlier_conversation>\n\n{text}"
