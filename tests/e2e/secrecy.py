"""What may be in no log: looked for in those of each server of the tests at the end of its life."""

import json
import re
from collections.abc import Iterable

_KEYS = re.compile(r"os[bwsp]_\w{8,}|whsec_[\w+/=-]{8,}|sk-\w[\w-]{11,}")
_SHORTEST = 10
"""Characters of a text that is looked for; shorter ones may stand there by themselves."""


def leaked(log: str, texts: Iterable[str]) -> list[str]:
    """Keys and tokens of every kind that are in a log, and those of the texts (prompts, keys of models) that
    are, as they are or as JSON or Python spell them.
    """
    spelled = [form for text in texts if len(text) >= _SHORTEST for form in _spelled(text)]
    return [*_KEYS.findall(log), *(text for text in spelled if text in log)]


def _spelled(text: str) -> tuple[str, ...]:
    return text, repr(text)[1:-1], json.dumps(text)[1:-1]
