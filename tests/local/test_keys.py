"""API keys on one machine: the server's own, those of older files, and the command."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opensessions.access import tokens
from opensessions.access.keys import Keys
from opensessions.local import database, keys
from opensessions.local.audit import SqliteAudit
from opensessions.local.database import Database
from opensessions.local.keyring import SqliteKeyring
from opensessions.local.settings import Settings, SettingsError, from_environment

OLD, NEW = "osb_an_older_key_of_a_server", "osb_another_key_of_a_server"


def settings(folder: Path, key: str = "") -> Settings:
    told = {"OPENSESSIONS_DATA_DIR": str(folder), "OPENSESSIONS_API_KEY": key}
    return from_environment({name: value for name, value in told.items() if value})


class Here:
    """The keys in a folder's file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "sessions.db")
        self.keyring = SqliteKeyring(self.database)
        self.keys = Keys(self.keyring, SqliteAudit(self.database), lambda: datetime.now(UTC))

    def own(self, key: str = "") -> str:
        """The key of a server that starts now."""
        return keys.own_key(settings(self.folder, key), self.keyring, self.keys)

    def opens(self, secret: str) -> bool:
        found = self.keyring.find(tokens.sha256(secret))
        return found is not None and found.revoked_at is None and found.account == "local"


def test_a_key_of_an_older_file_is_the_servers_and_may_do_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as db:
        for step in database._STEPS[:2]:
            db.executescript(step)
        for key in (OLD, NEW):
            db.execute("INSERT INTO api_key VALUES (?, 'local')", (tokens.sha256(key),))
        db.execute("PRAGMA user_version = 2")
        db.commit()
    here = Here(tmp_path)
    found = here.keyring.find(tokens.sha256(OLD))
    assert found and found.scope == "admin" and found.name == keys.OWN and len(found.id) == 36
    assert here.keyring.get(found.id) == found
    assert here.own(OLD) == OLD
    assert here.opens(OLD) and not here.opens(NEW)
    here.database.close()


def test_another_key_in_the_settings_takes_the_formers_place(tmp_path: Path) -> None:
    here = Here(tmp_path)
    generated = here.own()
    for key in (OLD, OLD, NEW, OLD, ""):
        assert here.own(key) == (key or generated)
        assert [each for each in (OLD, NEW, generated) if here.opens(each)] == [key or generated]
    here.own(OLD)
    here.keys.revoke(tokens.sha256(OLD))
    with pytest.raises(SettingsError, match="OPENSESSIONS_API_KEY was revoked"):
        here.own(OLD)
    here.database.close()


def test_in_place_of_a_key_of_its_own_that_was_revoked_the_server_makes_another(tmp_path: Path) -> None:
    here = Here(tmp_path)
    first = here.own()
    here.keys.revoke(tokens.sha256(first))
    second = here.own()
    assert second != first and here.opens(second) and not here.opens(first)
    here.database.close()


def test_the_command_makes_lists_and_revokes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENSESSIONS_DATA_DIR", str(tmp_path / "new"))
    assert keys.main(["create", "--name", "reports", "--scopes", "read"]) == 0
    made = capsys.readouterr()
    (secret,) = made.out.splitlines()
    assert secret not in made.err
    assert keys.main(["list"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    key_id, name, scopes, *_ = line.split()
    assert (name, scopes) == ("reports", "read") and key_id in made.err
    assert keys.main(["revoke", key_id]) == 0
    assert keys.main(["list"]) == 0
    assert capsys.readouterr().out == ""
    for wrong in (["revoke", "key_0"], ["create", "--scopes", "all"], ["create", "--account", "-"]):
        assert keys.main(wrong) == 1
        assert capsys.readouterr().err.count("\n") == 1
