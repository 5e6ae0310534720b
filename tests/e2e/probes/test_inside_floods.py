"""What a program in a sandbox takes too much of, and how one ends.

The numbers are the threat model's: a probe passes when it is refused and the host is unchanged.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2
import psutil
import pytest

from tests.e2e.probes.hostile import MODES, SLOW, Inside, alive, family, healthy, serving
from tests.e2e.server import until

pytestmark = pytest.mark.floods


@contextmanager
def unimpressed(neighbour: Inside) -> Iterator[None]:
    """Meanwhile the server answers within a second, and another session works."""
    with healthy(neighbour.server):
        assert neighbour.run("echo works >/workspace/works; cat /workspace/works") == (0, "works\n")
        yield
        assert neighbour.run("echo works >/workspace/works; cat /workspace/works") == (0, "works\n")


def test_i34_folders_in_memory_are_bounded(attacker: Inside, neighbour: Inside) -> None:
    with unimpressed(neighbour):
        for folder in ("/tmp", "/dev/shm", "/run", "/dev"):
            status, _ = attacker.run(f"head -c 900M /dev/zero >{folder}/filled")
            assert status != 0, folder
            attacker.run(f"rm -f {folder}/filled")
    assert attacker.run("echo works") == (0, "works\n")


def test_i39_i03_a_killed_worker_is_noticed_and_the_next_one_runs_no_planted_code(attacker: Inside) -> None:
    plant = 'open("/workspace/planted_ran", "a").write("x")'
    folders = "home/.local/lib/python3.11/site-packages home app . app/sandbox_task app/opensessions"
    names = "usercustomize sitecustomize json asyncio __init__ sandbox_task"
    for folder in folders.split():
        attacker.run(f"mkdir -p /workspace/{folder}")
        for name in names.split():
            attacker.run(f"echo '{plant}' >/workspace/{folder}/{name}.py")
    assert attacker.run("cd /workspace/app; python3 -c 'import json'; rm /workspace/planted_ran")[0] == 0
    before = attacker.server.get(attacker.session)["lastSeq"]
    attacker.bash("true")
    attacker.server.events(attacker.session, "version_saved", before)  # the next one begins with all of it
    murder = f"sleep 0.2; kill -9 {attacker.worker()}; sleep 1000"
    attacker.run(f"setsid bash -c '{murder}' >/dev/null 2>&1 &")
    attacker.lost(10)
    attacker.revive()
    planted = "test -e /workspace/home/json.py && test ! -e /workspace/planted_ran"
    assert attacker.run(planted)[0] == 0


def test_i32_a_fork_bomb(attacker: Inside, neighbour: Inside) -> None:
    bomb = """
import os, sys, time
end = time.time() + 2
while time.time() < end:
    try:
        os.fork()
    except OSError:
        time.sleep(0.5)
"""
    with unimpressed(neighbour):
        with suppress(httpx2.HTTPError, AssertionError):
            attacker.run(f"python3 -I -c '{bomb}'", 10)
        assert neighbour.run("echo works") == (0, "works\n")
    assert len(family(attacker.server)) < 1200
    until(lambda: len(alive(family(attacker.server))) < 60)
    assert attacker.status() in ("ready", "error")


def test_i33_a_memory_hog(attacker: Inside, neighbour: Inside) -> None:
    """The kernel ends the hogs one by one, or the server the sandbox as a whole."""
    hog = "import os, signal\nfor _ in range(6): os.fork()\nsignal.alarm(5); x = bytearray(1 << 30)"
    hog += "; signal.pause()"
    with unimpressed(neighbour):
        with suppress(httpx2.HTTPError, AssertionError):  # who answers may be ended with them
            attacker.run(f"setsid python3 -I -c '{hog}' >/dev/null 2>&1 &")
        hogs = "pgrep -f [b]ytearray"
        until(lambda: attacker.losses() or (attacker.works() and attacker.run(hogs)[0] == 1), 20)
    if attacker.losses():
        assert "memory" in attacker.lost(1)


def test_i34_a_full_disk(attacker: Inside, neighbour: Inside) -> None:
    program = """
import os
for number in range(9):
    with open(f"/workspace/{number}", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 30)
"""
    with unimpressed(neighbour):
        attacker.run(f"setsid python3 -I -c '{program}' >/dev/null 2>&1 &")
        assert "disk" in attacker.lost(20)


def test_i34_empty_files(attacker: Inside, neighbour: Inside) -> None:
    """Each takes an inode and no byte."""
    program = """
import json, os, time
made = []
for folder in ("/tmp/many", "/dev/shm/many", "/workspace/many"):
    os.makedirs(folder, exist_ok=True)
    made.append(0)
    end = time.time() + 2
    while time.time() < end:
        os.close(os.open(f"{folder}/{made[-1]}", os.O_CREAT | os.O_WRONLY))
        made[-1] += 1
print(json.dumps(made))
"""
    with unimpressed(neighbour):
        made = attacker.python(program)
    assert min(made) > 100, made
    removed = attacker.run("rm -rf /tmp/many /dev/shm/many /workspace/many; echo works", 60)
    assert removed == (0, "works\n")


@pytest.mark.skipif(not SLOW, reason="takes minutes; OPENSESSIONS_SLOW_TESTS=1 runs it")
@pytest.mark.timeout(600)
def test_i34_a_million_files(attacker: Inside, neighbour: Inside) -> None:
    program = """
import itertools, os
for number in itertools.count():
    if number % 10000 == 0: os.makedirs(f"/workspace/{number}"); os.chdir(f"/workspace/{number}")
    os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY))
"""
    with unimpressed(neighbour):
        attacker.run(f"cat >/tmp/many.py <<'END'\n{program}\nEND")
        attacker.run("setsid python3 -I /tmp/many.py >/dev/null 2>&1 &")
        assert "files" in attacker.lost(400, pause=1)
    attacker.end()


@pytest.mark.timeout(300)
def test_i42_a_flood_of_output_is_not_kept(inside: Inside) -> None:
    """60 and 200 MB; OPENSESSIONS_SLOW_TESTS=1 makes each a gigabyte."""
    output, told, seconds = ("1G", "1G", 100) if SLOW else ("60M", "200M", 3)
    before = len(inside.server.log())
    size = psutil.Process(inside.server.process.pid).memory_info().rss
    flood = f"timeout {seconds} head -c {output} /dev/zero"
    inside.run(f"for fd in 1 2; do {flood} >/proc/1/fd/$fd; done", 2 * seconds + 30)
    inside.bash(f"head -c {told} /dev/zero | tr '\\0' x")
    assert len(inside.server.log()) - before < 1_000_000
    assert psutil.Process(inside.server.process.pid).memory_info().rss - size < 64 << 20


@pytest.mark.skipif(not SLOW, reason="takes 80 s; OPENSESSIONS_SLOW_TESTS=1 runs it")
def test_i39_a_stopped_worker_is_noticed_by_its_silence(attacker: Inside) -> None:
    attacker.run(f"setsid bash -c 'sleep 0.2; kill -STOP {attacker.worker()}' >/dev/null 2>&1 &")
    attacker.lost(95)


def test_h16_an_idle_sandbox_stays_alive(neighbour: Inside) -> None:
    """15 seconds are more than an idle thread of a pool has; OPENSESSIONS_SLOW_TESTS=1 waits two minutes."""
    born = neighbour.processes[0].create_time()
    until(lambda: time.time() - born > (110 if SLOW else 15), 115)
    assert alive(neighbour.processes[:3]) == neighbour.processes[:3]
    assert neighbour.run("echo works") == (0, "works\n")


@pytest.mark.parametrize("mode", MODES)
def test_i41_o41_kill_9_of_the_server_leaves_no_process(mode: str) -> None:
    with serving(mode) as server:
        inside = Inside.of(server)
        inside.run("setsid sleep 1000 >/dev/null 2>&1 &")
        processes = family(server)
        assert len(processes) >= 6
        server.stop(9)
        until(lambda: not alive(processes), 2)
