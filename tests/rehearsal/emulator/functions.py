"""Lambdas run in a Python that sees their bundle and nothing else, as on AWS. Of the internet there is what
`internet` makes of it.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.rehearsal.emulator import internet
from tests.rehearsal.emulator.symbols import wrap


def install(folder: Path) -> None:
    """Without it a dependency that is missing in the bundle would be found among the emulator's own."""
    isolated = folder / "python"
    isolated.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    isolated.chmod(0o700)
    outside = f"{Path(internet.__file__).read_text()}\ninstall({str(folder)!r})\n"

    def alone(original: Callable[[str], tuple[str, str]]) -> Callable[[str], tuple[str, str]]:
        def detect(runtime: str) -> tuple[str, str]:
            binary, script = original(runtime)
            return (str(isolated), outside + script) if runtime.startswith("python") else (binary, script)

        return detect

    wrap("core.lambda_runtime._detect_runtime_binary")(alone)
