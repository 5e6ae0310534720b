"""The same turn by the Claude Agent SDK alone, with no service around it. Run in the sandbox's Python:

    python -m bench.bare MODEL_URL FOLDER < assignment.json

Prints one line of JSON: the clock (time.time) at some moments.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main(model_url: str, root: Path) -> None:
    moments = {"started": time.time()}
    from sandbox_task.agent import Agent  # noqa: F401 (everything that the product's worker imports, too)

    moments["imported"] = time.time()
    asyncio.run(_turn(model_url, root, lambda name: moments.setdefault(name, time.time())))
    print(json.dumps(moments))


async def _turn(model_url: str, root: Path, at: Callable[[str], float]) -> None:
    from claude_agent_sdk import AssistantMessage, ClaudeSDKClient, ResultMessage

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
        await agent.query(assign.prompt)
        async for message in agent.receive_response():
            if isinstance(message, AssistantMessage):
                at("assistant")
            elif isinstance(message, ResultMessage):
                if message.is_error:
                    raise RuntimeError(f"The bare turn failed: {message}")
                at("complete")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
