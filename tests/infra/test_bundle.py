"""The code of the functions: made without Docker and small, for Lambda; or for this machine, to rehearse."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.stacks import ROOT, template

pytestmark = pytest.mark.infra

AARCH64 = 0xB7
"""ELF's number of the machine, two bytes at offset 18."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("bundle"), host=False)


def _made(folder: Path, host: bool) -> Path:
    from infra.bundle import Bundling

    assert Bundling(host).try_bundle(str(folder), None)
    return folder


def test_the_rehearsals_template_differs_in_the_bundle_alone() -> None:
    rehearsed = {"previews": "domain", "images": "registry.example.com/opensessions:1"}
    changed = list(_differences(template(**rehearsed), template(**rehearsed, bundle="host")))
    assert changed
    assert {path[-1] for path in changed} == {"S3Key"}
    assert {path[2:4] for path in changed} == {("Properties", "Code")}


def test_it_is_small(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in bundle.rglob("*"):
            file.write(path, path.relative_to(bundle))
    assert archive.stat().st_size < 20_000_000


def test_it_is_for_lambdas_machines(bundle: Path) -> None:
    compiled = [path for path in bundle.rglob("*.so*") if path.is_file()]
    assert compiled
    for path in compiled:
        assert path.read_bytes()[18] == AARCH64, path.name
        if "cpython" in path.name:
            assert "cpython-313" in path.name


def test_it_holds_the_functions_and_nothing_that_runs_elsewhere(bundle: Path) -> None:
    for file in (ROOT / "functions").glob("*.py"):
        assert (bundle / "functions" / file.name).read_bytes() == file.read_bytes()
    assert (bundle / "opensessions" / "aws").is_dir()
    for other in ("opensessions/local", "gateway", "sandbox_task", "tests", "infra", "bin"):
        assert not (bundle / other).exists()
    assert not list(bundle.rglob("__pycache__"))


def test_every_function_can_be_imported_from_a_bundle_alone(tmp_path: Path) -> None:
    """With this machine's wheels, which the locks give the same versions."""
    made = _made(tmp_path, host=True)
    storage = {"TABLE_NAME": "t", "BUCKET_NAME": "b", "PREVIEW_URL": ""}
    placing = {
        "CLUSTER": "c", "SANDBOX_TASK_DEFINITION": "d", "SANDBOX_SUBNETS": "s", "SANDBOX_SECURITY_GROUP": "g",
        "SANDBOX_PUBLIC_IP": "DISABLED", "TASKS_QUEUE_URL": "q", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    names = ", ".join(f"functions.{file.stem}" for file in (ROOT / "functions").glob("[a-z]*.py"))
    services = ("dynamodb", "ecs", "s3", "secretsmanager", "sqs")
    clients = f"import boto3\nfor name in {services}: boto3.client(name)"
    code = f"import sys; sys.path.insert(0, {str(made)!r})\nimport {names}\n{clients}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env={**storage, **placing},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_a_change_of_the_code_is_a_new_bundle() -> None:
    from infra import bundle

    assert bundle.fingerprint(False) == bundle.fingerprint(False)
    assert bundle.fingerprint(False) != bundle.fingerprint(True)


def _differences(one: Any, other: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _differences(one.get(key), other.get(key), (*path, key))
    elif json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        yield path
