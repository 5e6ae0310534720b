"""The code of all functions, made without Docker: one folder, one upload."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda as lambda_

REPOSITORY = Path(__file__).parents[1]
RUNTIME = lambda_.Runtime.PYTHON_3_13
PYTHON = "3.13"
_PACKAGES = ("functions", "opensessions")
_UNUSED = ("local",)
_DEAD_WEIGHT = ("botocore/data/*/*/examples-1.json.gz", "**/*.pyi", "**/py.typed", "bin", "pydantic/v1")
_SERVICES = ("dynamodb", "ecs", "s3", "secretsmanager", "sqs", "sts")
"""Of the hundreds of services that botocore describes, those that functions call."""


@jsii.implements(cdk.ILocalBundling)
class Bundling:
    """Runs uv on this machine. `host` False: wheels for Lambda's processor and Python, compiled nowhere."""

    def __init__(self, host: bool) -> None:
        self._host = host

    def try_bundle(self, output_dir: str, options: Any) -> bool:
        target = Path(output_dir)
        lambdas = ["--python-platform", "aarch64-manylinux2014", "--python-version", PYTHON]
        platform = [] if self._host else lambdas
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(target)),
                *(*platform, "--only-binary", ":all:", "--require-hashes", "--no-deps"),
                *("-r", str(REPOSITORY / "requirements/functions.txt")),
            ],
            check=True,
        )
        for package in _PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__", *_UNUSED)
            shutil.copytree(REPOSITORY / package, target / package, ignore=ignored)
        _lighten(target)
        return True


def code(host: bool) -> lambda_.AssetCode:
    """The code of every function; bundled anew only when something that goes into it has changed."""
    return lambda_.Code.from_asset(
        str(REPOSITORY / "functions"),
        asset_hash_type=cdk.AssetHashType.CUSTOM,
        asset_hash=fingerprint(host),
        bundling=cdk.BundlingOptions(
            image=cdk.DockerImage.from_registry("unused"),
            local=Bundling(host),  # type: ignore[arg-type]
        ),
    )


def fingerprint(host: bool) -> str:
    """Of all that goes into a bundle."""
    whole = hashlib.sha256(f"host={host}".encode())
    files = [Path(__file__), REPOSITORY / "requirements/functions.txt"]
    for package in _PACKAGES:
        files += sorted((REPOSITORY / package).rglob("*.py"))
    for file in files:
        whole.update(str(file.relative_to(REPOSITORY)).encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def _lighten(target: Path) -> None:
    """Leave out what no function reads: most of a bundle is botocore's descriptions of other services."""
    for service in (target / "botocore/data").iterdir():
        if service.is_dir() and service.name not in _SERVICES:
            shutil.rmtree(service)
    for pattern in _DEAD_WEIGHT:
        for path in list(target.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
