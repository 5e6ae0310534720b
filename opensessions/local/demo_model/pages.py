"""The app that the script writes: templates of real files, and small edits to what they became."""

import html
import re
from dataclasses import dataclass
from importlib.resources import files

from opensessions.local.demo_model import asks

_ACCENT = re.compile(r"^ *--accent: #[0-9a-f]{6}; --on-accent: #[0-9a-f]{6};$", re.MULTILINE)
_THEME = re.compile(r'<html lang="en" data-theme="\w+">')
_NAMES = (("title", re.compile(r"<title>.*</title>")), ("h1", re.compile(r"<h1>.*</h1>")))
_NOTES = re.compile(r"^ *<!-- notes -->$", re.MULTILINE)
_NUMBERED = re.compile(r"^ *\d+[\t→](.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which stands once in the page, by `new`; `what` says so to a person."""

    old: str
    new: str
    what: str


def page(ask: str) -> str:
    """A whole web page that fits the ask; its words are escaped."""
    name = asks.title(ask)
    headline = name if asks.template(ask) != "landing" or asks.is_named(ask) else _headline(name)
    return (
        _template(f"{asks.template(ask)}.html")
        .replace("{{title}}", html.escape(name))
        .replace("{{headline}}", html.escape(headline))
    )


def server(port: int) -> str:
    """A Python program that serves its own folder on 127.0.0.1:`port`."""
    return _template("server.py").replace("PORT = 3000", f"PORT = {port}")


def edits(ask: str, content: str) -> list[Edit]:
    """What the ask changes in the page; a note with the ask itself if nothing else fits."""
    wanted = [*_renaming(ask, content), *_colouring(ask, content), *_theming(ask, content)]
    wanted = [edit for edit in wanted if edit.old != edit.new]
    return wanted or _noting(ask, content)


def from_read(output: str) -> str:
    """A file's text, from the numbered lines that the Read tool gives."""
    return "\n".join(_NUMBERED.findall(output))


def _template(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _headline(name: str) -> str:
    subject = re.sub(r"^.*?\bfor (?:an?|the|my|our)\b ", "", name, flags=re.IGNORECASE)
    return f"The {subject[:1].lower()}{subject[1:]} you have been looking for."


def _renaming(ask: str, content: str) -> list[Edit]:
    name = asks.new_title(ask)
    if name is None:
        return []
    what = f"the title is now “{name}”"
    found = [(tag, pattern.search(content)) for tag, pattern in _NAMES]
    return [Edit(match[0], f"<{tag}>{html.escape(name)}</{tag}>", what) for tag, match in found if match]


def _colouring(ask: str, content: str) -> list[Edit]:
    colour, found = asks.colour(ask), _ACCENT.search(content)
    if colour is None or found is None or asks.new_title(ask):
        return []
    line = f"  --accent: {colour.value}; --on-accent: {colour.on};"
    return [Edit(found[0], line, f"the header and the buttons are {colour.name} now")]


def _theming(ask: str, content: str) -> list[Edit]:
    theme, found = asks.theme(ask), _THEME.search(content)
    if theme is None or found is None or asks.new_title(ask):
        return []
    return [Edit(found[0], f'<html lang="en" data-theme="{theme}">', f"the page is {theme} now")]


def _noting(ask: str, content: str) -> list[Edit]:
    found = _NOTES.search(content)
    if found is None:
        return []
    words = " ".join(ask.split())
    words = words if len(words) <= 200 else words[:200] + " …"
    line = f"    <li>You asked: {html.escape(words)}</li>"
    return [Edit(found[0], f"{line}\n{found[0]}", f"the page shows a note, “You asked: {words}”")]
