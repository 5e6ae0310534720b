"""The local server without sandboxes: a launch leaves its token in a file, and "runs" for as long as that
is there, so that a test can be any number of sandboxes. `python -m tests.e2e.unpeopled`; with
`CLOCK_AHEAD=<seconds>` it lives in the future.
"""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opensessions.local import server
from opensessions.local.wiring import System
from opensessions.ports import Ended, Launch
from opensessions.sessions.lifecycle import Deadlines
from opensessions.sessions.service import Quota

AHEAD = timedelta(seconds=float(os.environ.get("CLOCK_AHEAD", "0")))


def tokens(data: Path) -> Path:
    """Where the tokens are, each in a file with the sandbox's id for a name."""
    return data / "tokens"


class Absent:
    """A SandboxRuntime that starts nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def check(self) -> None: ...

    def close(self) -> None: ...

    def launch(self, launch: Launch) -> None:
        (self._folder / launch.sandbox_id).write_text(launch.token)

    def stop(self, sandbox_id: str) -> None:
        (self._folder / sandbox_id).unlink(missing_ok=True)

    def alive(self, sandbox_id: str) -> bool:
        return (self._folder / sandbox_id).exists()

    def running(self) -> Sequence[str]:
        return [file.name for file in self._folder.iterdir()]

    def ended(self) -> Sequence[Ended]:
        return ()


class Unpeopled(System):
    """The wiring, with patience for sandboxes that never say a word."""

    def __init__(self, settings: Any, *args: Any) -> None:
        super().__init__(settings, *args, clock=lambda: datetime.now(UTC) + AHEAD)
        self.runtime.close()
        self.runtime = Absent(tokens(settings.data_dir.parent))  # type: ignore[assignment]
        self.supervisor._runtime = self.runtime
        self.supervisor._deadlines = Deadlines(start=86_400, silence=86_400)
        self.service._quota = Quota(live=1000, creates=1000)


if __name__ == "__main__":
    sys.exit(server.main(Unpeopled))
