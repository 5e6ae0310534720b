"""Front ends as their own generators make them today, installed and with nothing configured."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "frameworks"


@dataclass(frozen=True, slots=True)
class Stock:
    """`options` follow the folder's name on the generator's command line. `port` is where its dev server
    listens by itself. `text` is what the first page shows and `source` the file where it stands. `counter`
    is a command that gives the page a button that counts, for an app that comes without one.
    """

    name: str
    generator: str
    options: tuple[str, ...]
    port: int
    source: str
    text: str
    counter: str = ""


COUNTER = """\
test -e app/counter.tsx || {
cat > app/counter.tsx <<END
"use client";
import { useState } from "react";

export function Counter() {
  const [count, setCount] = useState(0);
  return <button onClick={() => setCount(count + 1)}>Count is {count}</button>;
}
END
sed -i -e '1i import { Counter } from "./counter";' -e 's/<h1/<Counter \\/><h1/' app/page.tsx
}"""
VITE = Stock(
    name="vite",
    generator="create-vite",
    options=("--template", "react-ts", "--no-interactive"),
    port=5173,
    source="src/App.tsx",
    text="Get started",
)
NEXT = Stock(
    name="next",
    generator="create-next-app",
    options=("--yes", "--use-npm", "--disable-git", "--no-agent-feedback"),
    port=3000,
    source="app/page.tsx",
    text="Deploy Now",
    counter=COUNTER,
)


def generated(stock: Stock) -> Path:
    """A folder with the app of the newest generator and its node_modules; made once for each generator."""
    version = _run(CACHE.parent, "npm", "view", stock.generator, "version").strip()
    folder = CACHE / f"{stock.generator}-{version}" / stock.name
    if not folder.exists():
        making = CACHE / f"making-{os.getpid()}"
        making.mkdir(parents=True)
        try:
            _generate(stock, version, making)
            folder.parent.mkdir(exist_ok=True)
            (making / stock.name).rename(folder)
        finally:
            shutil.rmtree(making)
    return folder


def _generate(stock: Stock, version: str, parent: Path) -> None:
    _run(parent, "npx", "--yes", f"{stock.generator}@{version}", stock.name, *stock.options)
    _run(parent / stock.name, "npm", "install", "--no-audit", "--no-fund")


def _run(folder: Path, *command: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
