"""What one request to the Messages API says about the conversation so far."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Text that the agent's own program, not a person, puts into the user's turns.
_MACHINE_TEXT = re.compile(
    r"\s*(<(system-reminder|command-|local-command|bash-|task-notification|user-memory)"
    r"|Base directory for this skill:|\[Request interrupted|Caveat: The messages below)"
)
_SKILL_TEXT = re.compile(r"\s*Base directory for this skill:[^\n]*\n(.*)", re.DOTALL)
_SKILL_LIST = re.compile(
    r"skills are available for use with the Skill tool:\s*\n(.*?)(?:\n\n(?!- )|\Z)", re.DOTALL
)
_SKILL_NAME = re.compile(r"^- ([\w.:/-]+?)(?::\s|:?$)", re.MULTILINE)
_FOLDER = re.compile(r"^[ \t-]*(?:Primary w|W)orking directory: *(\S.*?) *$", re.MULTILINE)
# Hints of the agent's program, not tools.
_PLACEHOLDER_TOOLS = frozenset({"DeferredToolPlaceholder"})


@dataclass
class Step:
    """One tool call of the assistant; `result` is None until it was carried out."""

    id: str
    tool: str
    input: dict[str, Any]
    result: str | None = None
    failed: bool = False


@dataclass
class Exchange:
    """One ask of the user and what the assistant did and said about it."""

    ask: str
    steps: list[Step] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Conversation:
    """`exchanges` in the order they were said; the last one is to be answered. Never empty."""

    exchanges: list[Exchange]
    tools: list[str]
    skills: list[str]
    skill_text: str
    system: list[str]
    folder: str | None
    answer_schema: dict[str, Any] | None

    @property
    def current(self) -> Exchange:
        return self.exchanges[-1]


def read_conversation(body: dict[str, Any]) -> Conversation:
    """Reads a request's body; raises ValueError, with words for a person, if it is not one."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: at least one message is required")
    blocks = [block for index, message in enumerate(messages) for block in _blocks(index, message)]
    system = [text for _, text in _texts("system", body.get("system"))]
    texts = [*system, *(block["text"] for _, block in blocks if block.get("type") == "text")]
    tools = [tool["name"] for tool in body.get("tools") or [] if isinstance(tool, dict) and tool.get("name")]
    return Conversation(
        exchanges=_exchanges(blocks),
        tools=[name for name in tools if name not in _PLACEHOLDER_TOOLS],
        skills=_skills(texts),
        skill_text=next((m[1].strip() for m in map(_SKILL_TEXT.match, reversed(texts)) if m), ""),
        system=system,
        folder=next((found[1] for found in map(_FOLDER.search, texts) if found), None),
        answer_schema=_answer_schema(body),
    )


def _blocks(index: int, message: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("user", "assistant", "system"):
        raise ValueError(f"messages.{index}.role: must be user, assistant or system")
    content = message.get("content")
    if isinstance(content, str):
        yield role, {"type": "text", "text": content}
        return
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise ValueError(f"messages.{index}.content: must be a text or a list of blocks")
    for place, block in enumerate(content):
        if block.get("type") == "text" and not isinstance(block.get("text"), str):
            raise ValueError(f"messages.{index}.content.{place}.text: must be a text")
        yield role, block


def _texts(role: str, content: Any) -> list[tuple[str, str]]:
    if isinstance(content, str):
        return [(role, content)]
    blocks = content if isinstance(content, list) else []
    return [(role, str(block["text"])) for block in blocks if isinstance(block, dict) and "text" in block]


def _exchanges(blocks: list[tuple[str, dict[str, Any]]]) -> list[Exchange]:
    exchanges: list[Exchange] = []
    steps: dict[str, Step] = {}
    asked_before = False
    for role, block in blocks:
        kind = block.get("type")
        if role == "user" and kind == "text":
            if _MACHINE_TEXT.match(block["text"]) or not block["text"].strip():
                asked_before = asked_before and "[Request interrupted" not in block["text"]
                continue
            if asked_before and exchanges:
                exchanges[-1].ask += "\n" + block["text"].strip()
            else:
                exchanges.append(Exchange(block["text"].strip()))
            asked_before = True
            continue
        if role == "system":
            continue
        asked_before = False
        exchanges = exchanges or [Exchange("")]
        if kind == "tool_result":
            _carry_out(steps, block)
        elif kind == "tool_use":
            step = Step(str(block.get("id")), str(block.get("name")), dict(block.get("input") or {}))
            steps[step.id] = step
            exchanges[-1].steps.append(step)
        elif kind == "text" and role == "assistant":
            exchanges[-1].said.append(block["text"])
    return exchanges or [Exchange("")]


def _carry_out(steps: dict[str, Step], block: dict[str, Any]) -> None:
    step = steps.get(str(block.get("tool_use_id")))
    if step is not None:
        step.result = "\n".join(text for _, text in _texts("user", block.get("content")))
        step.failed = bool(block.get("is_error"))


def _skills(texts: list[str]) -> list[str]:
    found = (
        name for text in texts for part in _SKILL_LIST.findall(text) for name in _SKILL_NAME.findall(part)
    )
    return list(dict.fromkeys(found))


def _answer_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    wanted = body.get("output_config") or {}
    shape = wanted.get("format") if isinstance(wanted, dict) else None
    schema = shape.get("schema") if isinstance(shape, dict) else None
    return schema if isinstance(schema, dict) else None
