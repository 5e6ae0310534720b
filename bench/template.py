"""The first preview of a Next.js app: from a template, and from an empty workspace."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.figures import heading, median, table
from bench.processes import USER, Product, demo_model, folder, product
from bench.sessions import opened, told

ROUNDS, TEXT = 3, "Made by a bench"
_PIECE = 15 * 2**20
_PATIENCE = 180
_DEPENDENCIES = ("next", "react", "react-dom")
_FILES = {
    "package.json": json.dumps(
        {
            "name": "app",
            "private": True,
            "scripts": {"dev": "next dev"},
            "dependencies": dict.fromkeys(_DEPENDENCIES, "latest"),
        }
    ),
    "app/layout.js": "export default function Layout({ children }) {\n"
    '  return <html lang="en"><body>{children}</body></html>;\n}\n',
    "app/page.js": f"export default function Page() {{\n  return <h1>{TEXT}</h1>;\n}}\n",
}
_UNPACK = "mkdir -p ~/.npm && cat npm-cache.* | tar -C ~/.npm -xf - && rm npm-cache.*"
_RUN = "npm ci --offline --no-audit --no-fund && npm run dev"
_INSTALL = f"(setsid nohup sh -c '{_RUN}' >/tmp/dev.log 2>&1 </dev/null &)"


def measure() -> None:
    """Print seconds to the preview's first 200, as medians of rounds by turns:

    - from an empty workspace: a sandbox from its POST to `ready`, and with the app's four files there, from a
      message that has `npm ci` run and the dev server started; npm has all packages in its cache, so
      that no network is in it, and a real `npm install` takes longer
    - from a template of that session: from its POST
    """
    heading("A Next.js app from a template", f"Medians of {ROUNDS} rounds in turn, local mode.")
    if shutil.which("npm") is None:
        print("There is no npm here, so nothing was measured.")
        return
    with folder() as made:
        if trouble := _fill(made / "app", made / "cache"):
            print(f"npm could not install the app ({trouble}), so nothing was measured.")
            return
        runs = []
        with demo_model() as model, product(model) as server:
            for _ in range(ROUNDS):
                runs.append(_round(server, made))
        _print(runs, made / "app")


def _fill(app: Path, cache: Path) -> str:
    """Install the app outside, for a lock file and a full cache of npm's. Returns what went wrong."""
    for name, text in _FILES.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(text)
    command = ["npm", "install", "--no-audit", "--no-fund", "--cache", str(cache)]
    command.append("--omit-lockfile-registry-resolved=false")  # else npm ci asks for more than the cache has
    done = subprocess.run(command, cwd=app, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1] if done.returncode else ""


def _round(server: Product, made: Path) -> dict[str, float]:
    session, run = _installed(server, made)
    began = time.time()
    template = server.http.post("/v1/templates", json={"session": session["id"], "name": "Next"}).json()
    while (status := server.http.get(f"/v1/templates/{template['id']}").json()["status"]) == "preparing":
        time.sleep(0.1)
    if status != "ready":
        raise RuntimeError(f"The template is {status}.")
    run["packing"] = time.time() - began
    server.delete(session["id"])
    run["template"] = _from_template(server, template["id"])
    server.http.delete(f"/v1/templates/{template['id']}").raise_for_status()
    return run


def _installed(server: Product, made: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """A session in which the app runs, and what it took."""
    began = time.time()
    session = server.create("run: true")
    moments, seq = told(server, session["id"], {"ready", "version_saved"})
    for name in (*_FILES, "package-lock.json"):
        _put(server, session, f"app/{name}", (made / "app" / name).read_bytes())
    _put_cache(server, session, made / "cache")
    server.send(session["id"], f"run: {_UNPACK}")
    told(server, session["id"], {"version_saved"}, seq)
    asked = time.time()
    seq = server.send(session["id"], f"run: {_INSTALL}")["lastSeq"]
    there, text = opened(session["previewUrl"], _PATIENCE)
    _check(text)
    told(server, session["id"], {"version_saved"}, seq)
    return session, {"sandbox": moments["ready"] - began, "install": there - asked}


def _put_cache(server: Product, session: dict[str, Any], cache: Path) -> None:
    packed = subprocess.run(["tar", "-C", cache, "-cf", "-", "_cacache"], check=True, capture_output=True)
    for number, start in enumerate(range(0, len(packed.stdout), _PIECE)):
        data = packed.stdout[start : start + _PIECE]
        _put(server, session, f"app/npm-cache.{number:03}", data)


def _put(server: Product, session: dict[str, Any], path: str, data: bytes) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    answer = server.http.put(f"/v1/sessions/{session['id']}/files/{path}", content=data, headers=headers)
    answer.raise_for_status()


def _from_template(server: Product, template: str) -> float:
    began = time.time()
    config = {"start_command": "npm run dev"}  # else what was seen is run again, the installation with it
    body = {"prompt": "run: true", "user_id": USER, "agent_config": config, "from": {"template": template}}
    answer = server.http.post("/v1/sessions", json=body)
    answer.raise_for_status()
    session = answer.json()
    there, text = opened(session["previewUrl"], _PATIENCE)
    _check(text)
    server.delete(session["id"])
    return there - began


def _check(page: str) -> None:
    if TEXT not in page:
        raise RuntimeError(f"The preview is another page: {page[:200]}")


def _print(runs: list[dict[str, float]], app: Path) -> None:
    for run in runs:
        run["empty"] = run["sandbox"] + run["install"]
        run["ratio"] = run["empty"] / run["template"]
    rows = [["to the first 200", "median", "all"]]
    for name, key in (
        ("empty workspace, npm ci", "empty"),
        ("of it the sandbox", "sandbox"),
        ("of it npm ci, server, first page", "install"),
        ("template", "template"),
        ("making the template", "packing"),
    ):
        figures = [run[key] for run in runs]
        rows.append([name, f"{median(figures):.1f} s", "  ".join(f"{figure:.1f}" for figure in figures)])
    table(rows)
    files = [file for file in (app / "node_modules").rglob("*") if file.is_file() and not file.is_symlink()]
    size = sum(file.stat().st_size for file in files)
    ratio = median([run["ratio"] for run in runs])
    print(
        f"\nnode_modules has {len(files):,} files with {size / 1e6:.0f} MB. From the template the first"
        f" preview is there {ratio:.1f} times as fast."
    )
