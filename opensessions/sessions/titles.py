"""What a prompt says about the project, before anything is built: a title and the framework it names."""

import re

_READ = 4096  # a prompt may be long; its first words are what matters
_TITLE = 60
_CUT = re.compile(r" (?:with|using) |[.!?](?: |$)", re.IGNORECASE)
_FRAMEWORKS = {
    "next.js": "nextjs", "nextjs": "nextjs", "sveltekit": "sveltekit", "svelte": "svelte", "nuxt": "nuxt",
    "astro": "astro", "remix": "remix", "vite": "vite", "angular": "angular", "vue": "vue", "react": "react",
    "express": "express", "fastapi": "fastapi", "flask": "flask", "django": "django",
    "streamlit": "streamlit",
}  # fmt: skip
_NAMED = re.compile(
    r"(?<![\w.])(" + "|".join(re.escape(name) for name in _FRAMEWORKS) + r")(?![\w])", re.IGNORECASE
)


def title(prompt: str) -> str:
    """The prompt's first thought, at most 60 characters: "Build an app with Vite" → "Build an app"."""
    first_line, *_ = prompt[:_READ].strip().splitlines() or [""]
    text = " ".join(first_line.split())
    cut = _CUT.search(text)
    text = text[: cut.start()] if cut and cut.start() else text
    if len(text) <= _TITLE:
        return text
    return text[: _TITLE - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def framework(prompt: str) -> str | None:
    """The first framework that the prompt names, by its usual short name ("nextjs", "vite", "fastapi" …)."""
    named = _NAMED.search(prompt[:_READ])
    return _FRAMEWORKS[named.group(1).lower()] if named else None
