"""The two images, built from their Dockerfiles."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.images.foundation import foundation
from tests.images.podman import podman, prepared

DOCKERFILES = {"gateway": "gateway/Dockerfile", "sandbox": "sandbox_task/Dockerfile"}


@dataclass(frozen=True)
class Size:
    """In bytes: what a registry keeps and a task pulls, and what that becomes on disk."""

    pulled: int
    unpacked: int


def built(name: str) -> str:
    """Build `gateway` or `sandbox` as far as it has changed; returns its name. Raises Unbuilt.

    What was built before is kept for two days, as the steps that did not change are taken from it.
    """
    prepared()
    image = f"localhost/opensessions-{name}:latest"
    podman(
        "build", "--isolation=chroot", "--network=host", "--quiet",
        f"--build-arg=BASE={foundation()}", f"--tag={image}", f"--file={DOCKERFILES[name]}", ".",
    )  # fmt: skip
    podman("image", "prune", "--force", "--filter=until=48h")
    return image


def size(image: str) -> Size:
    """Measured: the layers are compressed as they would be for a registry."""
    [about] = json.loads(podman("image", "inspect", image))
    with tempfile.TemporaryDirectory() as folder:
        podman("push", "--quiet", "--compress", image, f"dir:{folder}")
        return Size(sum(file.stat().st_size for file in Path(folder).iterdir()), about["Size"])
