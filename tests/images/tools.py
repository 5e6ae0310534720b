"""What an agent finds in the sandbox's image."""

import re

from tests.images.podman import REPOSITORY, inside

AGENT = "/opt/opensessions/venv/lib/python3.13/site-packages/claude_agent_sdk/_bundled"
COMMANDS = {
    "node": "node --version",
    "npm": "npm --version",
    "pnpm": "pnpm --version",
    "python": "python --version",
    "uv": "uv --version",
    "git": "git --version",
    "rg": "rg --version",
    "jq": "jq --version",
    "curl": "curl --version",
    "sqlite3": "sqlite3 --version",
    "claude": f"{AGENT}/claude --version",
}


def versions(image: str) -> dict[str, str]:
    """The first number that each tool tells of itself."""
    script = "; ".join(f"echo {name} $({command} | head -1)" for name, command in COMMANDS.items())
    lines = inside(image, "sh", "-c", script).splitlines()
    return {
        name: re.findall(r"\d[\d.]*\d", rest)[0] for name, _, rest in (line.partition(" ") for line in lines)
    }


def pinned(name: str) -> str:
    """The version that the Dockerfile or the list of tools names."""
    argument = rf"^ARG {name.upper()}=([\d.]+)$|^{name}==([\d.]+)"
    text = "".join((REPOSITORY / "sandbox_task" / file).read_text() for file in ("Dockerfile", "tools.txt"))
    [found] = re.finditer(argument, text, re.MULTILINE)
    return found[1] or found[2]
