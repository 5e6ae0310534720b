"""`make images`: build both images without a Docker engine, and print their sizes."""

import sys
import time

from tests.images.building import DOCKERFILES, built, size
from tests.images.podman import Unbuilt
from tests.images.tools import versions


def main() -> int:
    print(f"{'image':36} {'to pull':>9} {'on disk':>9} {'built in':>9}", flush=True)
    for name in DOCKERFILES:
        begun = time.monotonic()
        try:
            image = built(name)
        except Unbuilt as error:
            print(error, file=sys.stderr)
            return 1
        took, measured = time.monotonic() - begun, size(image)
        sizes = (f"{bytes_ / 1e6:.0f} MB" for bytes_ in (measured.pulled, measured.unpacked))
        print(f"{image:36} {next(sizes):>9} {next(sizes):>9} {took:>7.0f} s", flush=True)
    print("in a sandbox:", ", ".join(" ".join(tool) for tool in versions(image).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
