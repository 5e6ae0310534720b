"""How the agent is started."""

import json
from collections.abc import Callable, Reversible, Sequence
from typing import Any, cast

from claude_agent_sdk import ClaudeAgentOptions

from opensessions.events import Assign, HistoryMessage
from sandbox_task.environment import environment
from sandbox_task.settings import Paths
from sandbox_task.surroundings import Surroundings

_BUFFER = 32 * 1024 * 1024
_HISTORY = 60_000
_FOR_EVER = 36_500
"""Days for which the agent keeps a conversation, as a session may sleep for longer than the usual 30."""


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
