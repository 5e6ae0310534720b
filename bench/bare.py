"""The same two turns by the Claude Agent SDK alone, with no service around it. Run in the sandbox's Python:

    python -m bench.bare MODEL_URL FOLDER FOLLOW_UP [IDLE] < assignment.json

It is idle for IDLE seconds before the first turn.

Prints one line of JSON: the clock (time.time) at some moments.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAUSE = 0.5
"""Seconds before the follow-up: the agent's program has something to do after a turn."""


def main(model_url: str, root: Path, follow_up: str, idle: float = 0) -> None:
    moments = {"started": time.time()}
    from sandbox_task.agent import Agent  # noqa: F401 (everything that the product's worker imports, too)

    moments["imported"] = time.time()
    at = lambda name: moments.setdefault(name, time.time())  # noqa: E731
    asyncio.run(_turns(model_url, root, follow_up, idle, at))
    print(json.dumps(moments))


async def _turns(model_url: str, root: Path, follow_up: str, idle: float, at: Callable[[str], float]) -> None:
    from claude_agent_sdk import ClaudeSDKClient

    from opensessions.events import Assign
    from sandbox_task import options, skills
    from sandbox_task.settings import Paths
    from sandbox_task.surroundings import Surroundings

    assign, paths = Assign.model_validate_json(sys.stdin.read()), Paths(root)
    around = Surroundings(model_url, "http://127.0.0.1:9", "any", "any")
    at("connecting")
    for path in (paths.home, paths.agent, paths.inside(assign.cwd)):
        path.mkdir(parents=True)
    names = skills.place(paths.agent, assign.skills)
    async with ClaudeSDKClient(options.options(assign, around, paths, names, print)) as agent:
        await asyncio.sleep(idle)
        at("asked")
        await _answered(agent, assign.prompt or "", "assistant", "complete", at)
        await asyncio.sleep(PAUSE)
        at("asked again")
        await _answered(agent, follow_up, "assistant again", "complete again", at)


async def _answered(agent: Any, text: str, first: str, last: str, at: Callable[[str], float]) -> None:
    from claude_agent_sdk import AssistantMessage, ResultMessage

    await agent.query(text)
    async for message in agent.receive_response():
        if isinstance(message, AssistantMessage):
            at(first)
        elif isinstance(message, ResultMessage):
            if message.is_error:
                raise RuntimeError(f"The bare turn failed: {message}")
            at(last)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], *map(float, sys.argv[4:]))
