"""What an agent says while it builds something, in the sizes that a real one says it."""

import random
from collections.abc import Iterator
from typing import Any

_VOCABULARY = 3000


def _vocabulary() -> list[str]:
    """Made up, so that batches of it compress as batches of prose and code do: by 1.5 the single event, by 2
    the step, by 3.5 the dozens.
    """
    chance = random.Random(0)
    return [
        "".join(chance.choices("etaoinsrhldcumfpgwybvk", range(22, 0, -1), k=chance.randint(2, 9)))
        for _ in range(_VOCABULARY)
    ]


_WORDS = _vocabulary()


def steps(first: int = 0) -> Iterator[list[dict[str, Any]]]:
    """For ever: what is said in one step: words, a tool call, its result, a summary of it. Each differs."""
    number = first
    while True:
        number += 1
        tool = f"toolu_{number * 0x9E3779B97F4A7C15 % (1 << 96):024x}"
        yield [
            _assistant(number, {"type": "text", "text": _text(number, 30)}),
            _assistant(number, {"type": "tool_use", "id": tool, **_call(number)}),
            {
                "type": "user",
                "message": {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": tool, "content": _text(number + 7, 60)}
                    ],
                },
            },
            {
                "type": "tool_use_summary",
                "tool": "Write" if number % 2 else "Bash",
                "summary": f"Wrote src/components/Part{number}.tsx" if number % 2 else "Ran npm test",
                "tool_use_id": tool,
            },
        ]


def events(count: int, first: int = 0) -> list[dict[str, Any]]:
    """The first so many of all steps' events."""
    found: list[dict[str, Any]] = []
    for step in steps(first):
        found += step
        if len(found) >= count:
            return found[:count]
    return found


def _assistant(number: int, block: dict[str, Any]) -> dict[str, Any]:
    message = {
        "id": f"msg_{number * 0xD1B54A32D192ED03 % (1 << 96):024x}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [block],
        "stop_reason": None,
        "usage": {
            "input_tokens": 4,
            "cache_creation_input_tokens": 1000 + number * 733 % 1999,
            "cache_read_input_tokens": 20_000 + number * 911 % 9999,
            "output_tokens": 40 + number * 37 % 500,
            "service_tier": "standard",
        },
    }
    return {"type": "assistant", "message": message, "parent_tool_use_id": None}


def _call(number: int) -> dict[str, Any]:
    if number % 2:
        path = f"/workspace/app/src/components/Part{number}.tsx"
        return {"name": "Write", "input": {"file_path": path, "content": _code(number)}}
    return {"name": "Bash", "input": {"command": f"npm test -- part{number}", "description": "Run the tests"}}


def _text(number: int, words: int) -> str:
    return " ".join(_chosen(number, words))


def _code(number: int) -> str:
    names = _chosen(number, 72)
    lines = [f"export function Part{number}({{ items, onChange }}: Props) {{"]
    for verb, noun, other in zip(names[::3], names[1::3], names[2::3], strict=True):
        lines.append(f"  const {verb} = {noun}(items.{other}, [onChange])")
    return "\n".join([*lines, "  return null", "}"])


def _chosen(number: int, count: int) -> list[str]:
    """Few words often and most words rarely, the same for a number each time."""
    chance = random.Random(number)
    return [_WORDS[int(_VOCABULARY * chance.random() ** 2)] for _ in range(count)]
