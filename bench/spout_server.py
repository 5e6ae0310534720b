"""`make run`, except that `bench/spout.py` runs in each sandbox in the worker's place."""

import sys
from functools import partial
from pathlib import Path

from opensessions.local import server, wiring
from opensessions.local.sandboxes import LocalSandboxes
from opensessions.local.walls.venv import VENV

if __name__ == "__main__":
    spout = (Path(__file__).parent / "spout.py").read_text()
    python = f"{VENV}/bin/python"
    wiring.LocalSandboxes = partial(LocalSandboxes, command=(python, "-I", "-c", spout))
    sys.exit(server.main())
