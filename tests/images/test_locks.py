"""The images are built for arm64 in the cloud, and tested on whatever this is: so that each wheel exists
there is looked up.
"""

import sys
from pathlib import Path

import pytest

from tests.images.podman import REPOSITORY, tool

pytestmark = [pytest.mark.images, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "lock", ["requirements/gateway.txt", "requirements/sandbox.txt", "sandbox_task/tools.txt"]
)
@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_every_wheel_is_there_for_the_machine(lock: str, machine: str, tmp_path: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    tool(
        uv, "pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--only-binary=:all:",
        f"--target={tmp_path}", "--python-version=3.13", f"--python-platform={machine}-manylinux_2_34",
        f"--requirement={REPOSITORY / lock}",
    )  # fmt: skip
