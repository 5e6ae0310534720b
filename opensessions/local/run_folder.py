"""Where the sockets of a running server lie: the path of a data directory may be too long for that."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def run_folder(data_dir: Path) -> Iterator[Path]:
    """A new folder that nobody else can enter, for as long as this server runs.

    Its path is kept in the data directory, which the caller must have claimed: so what a server that was
    killed left behind is known to be nobody's, and is removed.
    """
    record = data_dir / "run"
    _sweep(record)
    run = Path(tempfile.gettempdir(), f"opensessions-{secrets.token_hex(8)}")
    record.write_text(str(run))
    run.mkdir(mode=0o700)
    try:
        yield run
    finally:
        shutil.rmtree(run, ignore_errors=True)
        record.unlink(missing_ok=True)


def _sweep(record: Path) -> None:
    left = Path(record.read_text()) if record.is_file() else None
    if left and left.name.startswith("opensessions-") and _is_ours(left):
        shutil.rmtree(left, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Anybody may have put something in the place of a folder that is gone."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
