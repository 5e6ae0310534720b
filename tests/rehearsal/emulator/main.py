"""Starts the emulator: `python -I -c "…; main()"` in the environment of `.venv-rehearsal`.

REHEARSAL_FOLDER (short: sockets lie in it), REHEARSAL_CONTROL_PORT and REHEARSAL_REPOSITORY are ours and are
taken out of the environment, which Lambdas inherit; what ministack itself is told stays in it. With
REHEARSAL_MODEL, where the model is, the containers of tasks are Podman's; without, processes.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from opensessions.local.walls.furnishing import Places
from tests.rehearsal.emulator import functions, resources, roles, stores, symbols, tasks
from tests.rehearsal.emulator.control import Control
from tests.rehearsal.emulator.knobs import Knobs
from tests.rehearsal.emulator.podman import Podman
from tests.rehearsal.emulator.processes import Docker
from tests.rehearsal.emulator.ways import Ways


def main() -> None:
    if gone := symbols.missing():
        sys.exit(gone)
    folder = Path(os.environ.pop("REHEARSAL_FOLDER"))
    port = int(os.environ.pop("REHEARSAL_CONTROL_PORT"))
    repository = Path(os.environ.pop("REHEARSAL_REPOSITORY"))
    model = os.environ.pop("REHEARSAL_MODEL", "")
    knobs = Knobs()
    docker = Podman(int(os.environ["GATEWAY_PORT"]), model) if model else _docker(folder, repository)
    resources.install()
    roles.install()
    tasks.install(knobs, docker)
    stores.install(knobs)
    functions.install(folder)
    Control(port, knobs, docker)
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    try:
        symbols.get("app.main")()
    finally:
        docker.close()


def _end_with_the_tests() -> None:
    """Standard input ends when they do, however that was."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _docker(folder: Path, repository: Path) -> Docker:
    run, workspaces = folder / "run", folder / "workspaces"
    run.mkdir(mode=0o711)
    wire = ("__init__", "archives", "events", "handshake")
    code = (*(f"opensessions/{name}.py" for name in wire), "sandbox_task")
    places = Places(
        run, workspaces, run, run, repository / ".venv-sandbox", {name: repository / name for name in code}
    )
    return Docker(run, places, Ways(run))
