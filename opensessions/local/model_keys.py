"""Accounts' own keys of the model on one machine: files, sealed by the master key."""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from opensessions.access import tokens
from opensessions.errors import StoreError
from opensessions.local.sealing import opened, sealed


class FileModelKeys:
    """A `model_keys.ModelKeys`, and who reads the keys. Each is a file that its owner alone can read."""

    def __init__(self, folder: Path, master: bytes) -> None:
        self._folder, self._master = folder, master

    def put(self, account: str, key: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._folder / f"new-{secrets.token_hex(8)}"
        new.touch(mode=0o600, exist_ok=False)
        with new.open("wb") as file:
            file.write(sealed(self._master, account.encode(), key.encode()))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file(account))

    def drop(self, account: str) -> None:
        self._file(account).unlink(missing_ok=True)

    def since(self, account: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._file(account).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def read(self, account: str) -> str | None:
        """An account's key. Raises StoreError for one that was sealed by another master key."""
        try:
            data = self._file(account).read_bytes()
        except FileNotFoundError:
            return None
        plain = opened(self._master, account.encode(), data)
        if plain is None:
            raise StoreError("The account's model key was sealed by another master.key: put it in again.")
        return plain.decode()

    def _file(self, account: str) -> Path:
        return self._folder / tokens.sha256(account)
