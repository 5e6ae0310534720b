"""Processes that part from their parents, and those that nobody waits for."""

import os
import subprocess
import sys
from pathlib import Path

from tests.sandbox_task.conftest import REPO

_SCENE = f"""
import sys; sys.path.insert(0, {str(REPO)!r})
import os, subprocess, time
from pathlib import Path
from sandbox_task import processes

processes.adopt()
# Two shells that leave a program behind each: one in a session of its own, one in a loop that starts others.
subprocess.run(["sh", "-c", "setsid sleep 600 & (while :; do sleep 600; done) & exit 0"], check=True)
own = os.getpid()
while len(processes.descendants(own)) < 3:
    time.sleep(0.01)
assert all(parent == own for pid, (parent, _) in processes.parents().items()
           if pid in processes.descendants(own) and Path(f"/proc/{{pid}}/comm").read_text() == "sh\\n")
while not processes.end_all():
    pass
reaper = processes.Reaper()
kept = subprocess.Popen(["true"])
def dead():
    return {{pid for pid, (parent, state) in processes.parents().items() if parent == own and state == "Z"}}
while len(dead()) < 2:
    time.sleep(0.01)
reaper.bury()
assert kept.wait() == 0  # the first look leaves it to whoever waits for it
while dead():
    reaper.bury()
print("ended")
"""


def test_all_that_was_started_ends_wherever_it_was_handed_to_and_is_buried(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCENE], cwd=tmp_path, capture_output=True, text=True, timeout=30,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.stdout == "ended\n", done.stderr
