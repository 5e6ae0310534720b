"""`python -m bench [PART …]`: every part in turn, or those that are named."""

import argparse
import os
import platform
import signal
import subprocess
import sys
from importlib.util import find_spec

from bench import (
    archives,
    event_latency,
    floods,
    functions,
    memory,
    pieces,
    posts,
    request_units,
    template,
    turns,
    wake,
    warm,
)


def previews() -> None:
    """The preview proxy beside nginx; in a process of its own, because it measures processor time."""
    if find_spec("bench.preview_proxy") is None:
        print("\nPreview proxy: there is no bench/preview_proxy.py, so nothing was measured.")
        return
    process = subprocess.Popen([sys.executable, "-m", "bench.preview_proxy"])
    try:
        if process.wait():
            sys.exit(f"The measurement of the preview proxy ended with status {process.returncode}.")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # so that it ends what it has started
            process.wait(20)


PARTS = {
    "posts": posts.measure,
    "turns": turns.measure,
    "events": event_latency.measure,
    "floods": floods.measure,
    "memory": memory.measure,
    "functions": functions.measure,
    "archives": archives.measure,
    "wake": wake.measure,
    "warm": warm.measure,
    "template": template.measure,
    "request_units": request_units.measure,
    "previews": previews,
    "pieces": pieces.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    # Ended by a signal, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f} at the start")
    for name in parts:
        sys.stdout.flush()
        PARTS[name]()


if __name__ == "__main__":
    main()
