"""`python -m bench [PART …]`: every part in turn, or those that are named."""

import argparse
import os
import platform
import subprocess
import sys
from importlib.util import find_spec

from bench import event_latency, memory, posts, turns


def previews() -> None:
    """The preview proxy beside nginx; in a process of its own, because it measures processor time."""
    if find_spec("bench.preview_proxy") is None:
        print("\nPreview proxy: there is no bench/preview_proxy.py, so nothing was measured.")
        return
    subprocess.run([sys.executable, "-m", "bench.preview_proxy"], check=True)


PARTS = {
    "posts": posts.measure,
    "turns": turns.measure,
    "events": event_latency.measure,
    "memory": memory.measure,
    "previews": previews,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help=f"{', '.join(PARTS)} (default: all)")
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f} at the start")
    for name in parser.parse_args().part or PARTS:
        PARTS[name]()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
