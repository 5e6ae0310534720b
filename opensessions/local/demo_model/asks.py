"""What a person's words ask for. All functions are pure; None means: not asked."""

import re
from dataclasses import dataclass

_VERB = r"(?:build|create|make|write|develop|design|generate|set up)\b(?: me| us)?"
_THING = (
    r"(?:app|application|page|site|website|timer|stopwatch|counter|list|game|tool|dashboard|portfolio|blog|store"
    r"|shop|tracker|clone|todo|to-do|calculator|planner)s?"
)
# "Make the list green" changes what is there; "make a list" builds.
_BUILD = re.compile(rf"\b{_VERB} (?:an?|some)\b.*\b{_THING}\b", re.IGNORECASE | re.DOTALL)
_POLITE = r"(?:(?:hi|hello|hey|please|can you|could you|would you)\b[ ,!]*)*"
_OPENING = re.compile(
    rf"^{_POLITE}(?:{_VERB}|i (?:want|need))? *(?:(?:an?|the|my|our|some)\b)? *", re.IGNORECASE
)
_TAIL = re.compile(
    r",?\s+(?:with|using|in|on|that|which|where|so that|built|based on|from)\s.*$|[.!?;:\n].*$",
    re.IGNORECASE | re.DOTALL,
)
_PORT = re.compile(r"\s*\bon port (\d{2,5})\b", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:called|named|titled)\s+(?:[\"“']([^\"”']+)[\"”']|(\w[^,.;:!?\n]*))", re.IGNORECASE)
_RENAME = re.compile(
    r"\b(?:(?:call|name) (?:it|this|the \w+)|rename (?:it|this|the \w+)? ?to"
    r"|(?:change|set|make) the (?:title|heading|headline|header|name) (?:to|say|read)|title:)"
    r"\s*[\"“']?([^\"”'\n]+)",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"(hi|hello|hey|help|thanks|thank you|who are you|what are you|what can you do)\b.{0,30}", re.IGNORECASE
)
_THEME = re.compile(
    r"\b(dark|light)(?:er)?(?= (?:mode|theme|background|version|look|design)\b)"
    r"|(?:^|\b(?:it|page|app|everything|go|to|and|be) )(dark|light)(?:er)?\b",
    re.IGNORECASE,
)
_HISTORY = re.compile(
    r"\W*[^\n]*\b(earlier|previous|prior|so far|history|transcript)\b[^\n]*:\W*(\n|$)", re.I
)
_STACK = re.compile(
    r"\b(next\.?js|react|vue|svelte|astro|angular|tailwind|vite|remix|nuxt|django|rails)\b", re.IGNORECASE
)
_COLOURS = {
    "blue": "#2563eb", "navy": "#1e3a8a", "sky": "#0369a1", "cyan": "#0e7490", "teal": "#0f766e",
    "turquoise": "#0f766e", "green": "#15803d", "emerald": "#047857", "lime": "#4d7c0f", "yellow": "#facc15",
    "gold": "#eab308", "amber": "#f59e0b", "orange": "#c2410c", "red": "#dc2626", "crimson": "#be123c",
    "rose": "#e11d48", "pink": "#db2777", "magenta": "#c026d3", "purple": "#7e22ce", "violet": "#7c3aed",
    "indigo": "#4f46e5", "brown": "#92400e", "grey": "#475569", "gray": "#475569", "black": "#3f3f46",
}  # fmt: skip
_COLOUR = re.compile(rf"(?:\b({'|'.join(_COLOURS)})\b|(#[0-9a-f]{{6}})\b)", re.IGNORECASE)
_TEMPLATES = {
    "landing": re.compile(r"\b(landing|website|home ?page|portfolio|web ?site)\b", re.IGNORECASE),
    "todo": re.compile(r"\b(to-?dos?|tasks?|check-?lists?|(shopping|grocery|packing) list)\b", re.IGNORECASE),
    "timer": re.compile(r"\b(timer|pomodoro|stopwatch|countdown|focus)\b", re.IGNORECASE),
    "counter": re.compile(r"\bcount(er)?\b", re.IGNORECASE),
}


@dataclass(frozen=True)
class Colour:
    """`value` and `on`, the colour of text upon it, as #rrggbb."""

    name: str
    value: str
    on: str


def latest_ask(text: str) -> str:
    """The ask itself, where a resumed conversation's history stands above it as text."""
    if command(text) is not None:
        return text
    closed = re.split(r"</[\w-]*(?:history|conversation|transcript)[\w-]*>", text)
    if len(closed) > 1:
        return closed[-1].strip()
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    return paragraphs[-1] if len(paragraphs) > 2 and _HISTORY.match(paragraphs[0]) else text


def wants_build(ask: str) -> bool:
    return bool(_BUILD.search(ask))


def is_greeting(ask: str) -> bool:
    return bool(_GREETING.fullmatch(ask.strip()))


def title(ask: str) -> str:
    """ "Build a todo app with Next.js" is a "Todo app"; a name that is given ("called X") wins."""
    ask = _PORT.sub("", ask)
    named = _NAMED.search(ask)
    text = (named[1] or named[2]) if named else _TAIL.sub("", _OPENING.sub("", ask.strip(), count=1))
    text = " ".join(text.split()).strip(" \"'“”")
    if len(text) > 60:
        text = text[:60].rsplit(" ", 1)[0] + " …"
    return text[:1].upper() + text[1:] or "My app"


def is_named(ask: str) -> bool:
    return bool(_NAMED.search(ask))


def port(ask: str) -> int:
    """The port that the ask names ("on port 4000"), or 3000."""
    named = _PORT.search(ask)
    return int(named[1]) if named and 1024 <= int(named[1]) <= 65535 else 3000


def template(ask: str) -> str:
    return next((name for name, words in _TEMPLATES.items() if words.search(ask)), "landing")


def stack(ask: str) -> str:
    """The frameworks that the ask names, as it names them: "Next.js and Tailwind", or ""."""
    return " and ".join(dict.fromkeys(_STACK.findall(ask)))


def colour(ask: str) -> Colour | None:
    found = _COLOUR.search(ask)
    if not found:
        return None
    name = (found[1] or found[2]).lower()
    value = _COLOURS.get(name, name)
    red, green, blue = (int(value[place : place + 2], 16) for place in (1, 3, 5))
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 150
    return Colour(name, value, "#1c1917" if bright else "#ffffff")


def theme(ask: str) -> str | None:
    """ "dark" or "light"; a "dark blue" is a colour and no theme."""
    words = re.sub(rf"\b(dark|light)(er)? *(?={_COLOUR.pattern})", "", ask, flags=re.IGNORECASE)
    found = _THEME.search(words)
    return (found[1] or found[2]).lower() if found else None


def new_title(ask: str) -> str | None:
    found = _RENAME.search(ask)
    text = re.sub(r"(,? please)?[ .!]*$", "", found[1]).strip() if found else ""
    return text[:80] or None


def command(ask: str) -> str | None:
    """The shell command of "run: <command>", as it was written."""
    found = re.match(r"\s*run:\s*(.+)", ask, re.DOTALL)
    return found[1].strip() if found else None


def sleep_seconds(ask: str) -> int | None:
    found = re.match(r"\s*(?:please )?sleep (?:for )?(\d{1,4})\b", ask, re.IGNORECASE)
    return int(found[1]) if found else None


def word_count(ask: str) -> int | None:
    found = re.match(r"\s*(?:please )?say (\d{1,5}) words\b", ask, re.IGNORECASE)
    return int(found[1]) if found else None
