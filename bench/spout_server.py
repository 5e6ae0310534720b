"""`make run`, except that `bench/spout.py`, or the file beside it that is named, runs in each sandbox in the
worker's place. With a file of its own it has no lower priority than other programs, unless it gives it up.
"""

import sys
from functools import partial
from pathlib import Path

from opensessions.local import server, wiring
from opensessions.local.sandboxes import Limits, LocalSandboxes
from opensessions.local.walls.venv import VENV

if __name__ == "__main__":
    name = sys.argv[1] if sys.argv[1:] else "spout.py"
    program = (Path(__file__).parent / name).read_text()
    python = f"{VENV}/bin/python"
    limits = Limits(niceness=0) if sys.argv[1:] else None
    wiring.LocalSandboxes = partial(LocalSandboxes, command=(python, "-I", "-c", program), limits=limits)
    sys.exit(server.main())
