"""The small scenes: aids for trying the system, and questions that need no tool."""

import json
import re
from collections.abc import Generator
from itertools import cycle, islice
from typing import Any, TypeAlias

from opensessions.local.demo_model import asks
from opensessions.local.demo_model.conversation import Conversation, Step
from opensessions.local.demo_model.reply import Call

Scene: TypeAlias = Generator[Call, Step, str]

WHO = "I am the demo model: a script, not an AI."
_LONGEST_MS = 600_000
_WORDS = (
    "this",
    "is",
    "the",
    "demo",
    "model",
    "and",
    "it",
    "says",
    "as",
    "many",
    "words",
    "as",
    "you",
    "like",
)
_OWN_PROMPT = re.compile(r"x-anthropic-|You are a Claude agent\b|You are Claude Code\b")
_HELP = (
    f"{WHO} Ask me to “Build a todo app”, a focus timer or a landing page and I will write one and serve it; "
    "then say “make the header blue”, “call it Groceries” or “dark mode”, or anything else, which I put into "
    "the page as a note."
)


def run(conversation: Conversation, command: str) -> Scene:
    if "Bash" not in conversation.tools:
        return f"{WHO} I cannot run a command without the tool Bash, and it is not offered here."
    step = yield Call(
        "Bash", {"command": command, "timeout": _LONGEST_MS, "description": "Run what was asked"}
    )
    outcome = "The command failed. It said:" if step.failed else "The command said:"
    return f"{outcome}\n\n```\n{step.result}\n```"


def sleep(conversation: Conversation, seconds: int) -> Scene:
    if "Bash" not in conversation.tools:
        return f"{WHO} I cannot sleep without the tool Bash, and it is not offered here."
    limit = min((seconds + 30) * 1000, _LONGEST_MS)
    # The agent's Bash refuses a long sleep that stands alone.
    call = {
        "command": f"echo started; sleep {seconds}",
        "timeout": limit,
        "description": f"Sleep {seconds} seconds",
    }
    step = yield Call("Bash", call, f"I will sleep for {seconds} seconds.")
    return f"The sleep ended early: {step.result}" if step.failed else f"I slept for {seconds} seconds."


def say(count: int) -> Scene:
    return (yield from speak(" ".join(islice(cycle(_WORDS), count)) or "Nothing to say."))


def speak(text: str) -> Scene:
    yield from ()
    return text


def answer(conversation: Conversation, ask: str) -> str | None:
    """The answer to a question about the session itself, or None if it is not one."""
    if re.search(r"\bsystem prompt\b", ask, re.IGNORECASE):
        return _system_prompt(conversation)
    if re.search(r"\b(which|what) tools\b", ask, re.IGNORECASE):
        return f"I was offered these tools: {', '.join(sorted(conversation.tools)) or 'none'}."
    if re.search(r"\b(which|what) skills\b", ask, re.IGNORECASE):
        return f"I know these skills: {', '.join(conversation.skills) or 'none'}."
    if re.search(r"\bwhat (did|have) (i|we) (ask|said|say|talk)", ask, re.IGNORECASE):
        return _asked(conversation)
    return _HELP if asks.is_greeting(ask) or not ask.strip() else None


def _asked(conversation: Conversation) -> str:
    """What a conversation that was gone on with still holds."""
    before = [exchange.ask for exchange in conversation.exchanges[:-1]]
    if not before:
        return "You asked nothing before this."
    return "You asked: " + "; ".join(f"“{text[:200]}”" for text in before) + "."


def is_side_request(conversation: Conversation) -> bool:
    """Whether the agent's program asks for itself: a title, a summary, a check of its quota."""
    if conversation.tools:
        return False
    system = "\n".join(conversation.system)
    asked = re.search(r"\b(title|summar|topic)", system, re.IGNORECASE)
    return conversation.current.ask == "quota" or asked is not None


def side_answer(conversation: Conversation, ask: str) -> Scene:
    text = asks.title(ask)
    if conversation.answer_schema is not None:
        text = json.dumps(_fitting(conversation.answer_schema, text))
    return (yield from speak(text))


def _fitting(schema: dict[str, Any], text: str) -> Any:
    """The smallest value that fits a JSON schema, with the text where one is wanted."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return {name: _fitting(properties.get(name, {}), text) for name in schema.get("required", properties)}
    smallest: dict[str, Any] = {"array": [], "boolean": False, "integer": 0, "number": 0, "null": None}
    return smallest.get(str(schema.get("type")), text)


def _system_prompt(conversation: Conversation) -> str:
    prompts = [text.strip() for text in conversation.system if not _OWN_PROMPT.match(text.strip())]
    if not prompts:
        return "My system prompt is empty."
    prompt = prompts[-1]
    begins = f"My system prompt begins with: “{prompt.splitlines()[0]}”"
    # Appended to the agent's own long prompt, a caller's prompt is the end of it.
    return f"{begins} It ends with: “{prompt.split(chr(10) * 2)[-1]}”" if len(prompt) > 2000 else begins
