"""The folder of a server's sockets: new for each run, and never left behind for good."""

from pathlib import Path

import pytest

from opensessions.local.run_folder import run_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def killed(data: Path) -> Path:
    """What a server leaves that has no time to clean up."""
    with run_folder(data) as run:
        pass
    (run / "doors").mkdir(parents=True)
    (run / "doors" / "door.sock").touch()
    (data / "run").write_text(str(run))
    return run


def test_it_is_closed_to_others_short_and_gone_afterwards(data: Path, temporary: Path) -> None:
    with run_folder(data) as run:
        assert run.parent == temporary and run.stat().st_mode & 0o777 == 0o700 and len(run.name) < 32
        (run / "gateway.sock").touch()
    assert not list(temporary.iterdir()) and not list(data.iterdir())


def test_what_a_killed_server_left_is_removed_and_nothing_else(
    data: Path, tmp_path: Path, temporary: Path
) -> None:
    left, other = killed(data), temporary / "opensessions-of-another"
    other.mkdir()
    with run_folder(data) as run:
        assert not left.exists() and {*temporary.iterdir()} == {other, run}


def test_what_took_the_place_of_a_folder_is_left_alone(data: Path, temporary: Path) -> None:
    left = killed(data)
    kept = left.rename(temporary / "kept")
    left.symlink_to(kept)
    with run_folder(data):
        assert left.is_symlink() and (kept / "doors" / "door.sock").exists()


@pytest.mark.parametrize("text", ["", "/", "tests", "\0"])
def test_a_record_that_names_something_else_is_ignored(data: Path, text: str) -> None:
    (data / "run").write_text(text)
    with run_folder(data) as run:
        assert (data / "run").read_text() == str(run)
