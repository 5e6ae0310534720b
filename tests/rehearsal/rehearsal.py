"""The whole: an emulator, the real stack deployed to it, and the demo model."""

import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from opensessions.local.demo_model.app import create_demo_model
from tests.e2e.target import until
from tests.rehearsal.deployment import Deployment
from tests.rehearsal.emulator_process import Emulator
from tests.rehearsal.quick import QuickSystem
from tests.rehearsal.served import Served

ACCOUNT = "rehearsal"
"""Whose the key is that a new operator makes."""


class Rehearsal(QuickSystem):
    """`context` comes on top of the usual one. `deployment.times` are the seconds of each step."""

    def __init__(self, folder: Path, **context: str) -> None:
        began = time.monotonic()
        emulator = Emulator(folder / "emulator.log")
        self.model = Served(create_demo_model())
        try:
            self.deployment = Deployment(emulator, folder, **context)
            stack, key = self.deployment.first()
            super().__init__(stack, key, self.model.address, folder)
        except BaseException:
            emulator.stop()
            self.model.close()
            raise
        self.deployment.times["all"] = round(time.monotonic() - began, 1)

    def new_key(self, name: str, scopes: str = "admin", account: str | None = None) -> str:
        whose = ("--account", account or ACCOUNT)
        return self.deployment.operate("key", *whose, "--name", name, "--scopes", scopes).strip()

    def good_keys(self, name: str) -> list[str]:
        listed = self.deployment.operate("key", "--account", ACCOUNT, "--list").splitlines()
        return [line.split()[0] for line in listed if line.split()[1] == name]

    def revoke_key(self, key_id: str) -> None:
        self.deployment.operate("key", "--revoke", key_id)

    def stop(self) -> None:
        """End it, and fail if anything goes on by itself."""
        family = psutil.Process(self.emulator.process.pid).children(recursive=True)
        try:
            self.close()
        finally:
            self.emulator.stop()
            self.model.close()
        until(lambda: not any(_runs(each) for each in family), 10)


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
