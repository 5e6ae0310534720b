"""The gateway's image, as a task with a read-only root."""

import pytest

from tests.images.podman import inside

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]
IMPORTING = """
import importlib, os, pkgutil
import gateway, opensessions, opensessions.aws.server
names = [module.name for module in pkgutil.walk_packages(gateway.__path__, "gateway.")]
for name in names:
    importlib.import_module(name)
print(os.getuid(), len(names), os.listdir(opensessions.__path__[0]).count("local"))
"""


def test_all_of_its_modules_import(gateway_image: str) -> None:
    uid, count, local = inside(gateway_image, "python", "-c", IMPORTING).split()
    assert (uid, local) == ("1000", "0")
    assert int(count) > 30


def test_its_command_says_what_it_lacks(gateway_image: str) -> None:
    said = inside(gateway_image, check=False)
    assert "the gateway cannot start" in said and "TABLE_NAME" in said
