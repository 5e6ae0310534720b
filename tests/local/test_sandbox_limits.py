"""Sandboxes that take too much: as root the kernel's cgroups hold them where the machine has them, as a plain
user the watchdog does. Either way the service goes on and a second sandbox notices nothing.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensessions.local.walls import cgroups
from opensessions.local.walls.limits import Limits
from tests.local.hosts import MODES, Host, Inside, eventually, hosting, new_id

MB = 1 << 20
LIMITS = {"memory": 200 * MB, "processes": 60, "disk": 40 * MB, "tmp": 16 * MB, "shm": 8 * MB, "inodes": 2000}
FLOOD = "head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2; exit 9"


@pytest.fixture(scope="module", params=MODES)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with hosting(request.param, limits=LIMITS) as made:
        yield made


@pytest.fixture
def neighbour(host: Host) -> Iterator[Inside]:
    """Another sandbox, which answers promptly at the end (a second on a quiet machine)."""
    inside = host.launch()
    yield inside
    begun = time.monotonic()
    assert inside.run("echo well") == (0, "well\n")
    assert time.monotonic() - begun < 5
    host.call("stop", inside.id)


def verdict(host: Host, inside: Inside) -> str:
    sandbox_id, number, reason = host.stopped.get(timeout=20)
    assert (sandbox_id, number) == (inside.id, 1)
    assert not inside.processes and not host.call("alive", inside.id)
    return str(reason)


def in_background(inside: Inside, program: str) -> None:
    """Start what may end the sandbox before it could answer."""
    status, output = inside.run(
        f"cat >/tmp/program <<'END'\n{program}\nEND\npython3 /tmp/program >/dev/null 2>&1 &"
    )
    assert status == 0, output


def test_i32_a_fork_bomb_stays_small(host: Host, neighbour: Inside) -> None:
    inside = host.launch()
    program = """
import os
reading, writing = os.pipe()
made = 0
try:
    while made < 500:
        if os.fork() == 0: os.close(writing); os.read(reading, 1); os._exit(0)
        made += 1
except OSError as error:
    print(made, error.errno)
"""
    made, error = inside.python(program)[1].split()
    assert 20 < int(made) < 60 and error == "11"
    in_background(
        inside, "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)"
    )
    eventually(lambda: len(inside.processes) > 50)
    assert len(inside.processes) <= 62
    host.call("stop", inside.id)
    assert host.stopped.empty()


def test_i33_many_processes_that_hog_memory_together(host: Host, neighbour: Inside) -> None:
    """Each is within the limit of a process; all of them are not."""
    inside = host.launch()
    program = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        data = []
        while len(data) < 100: data.append(bytearray(os.urandom(1 << 10)) * 1024); time.sleep(0.005)
        time.sleep(60)
time.sleep(60)
"""
    in_background(inside, program)
    eventually(lambda: not host.stopped.empty() or _killed_by_kernel(inside))
    if host.stopped.empty():
        host.call("stop", inside.id)
    else:
        assert "200 MB of memory" in verdict(host, inside)


def _killed_by_kernel(inside: Inside) -> bool:
    """Cgroups end the hungriest process, and the sandbox goes on when that was not its worker."""
    return any("oom_kill 0" not in path.read_text() for path in _counters(inside.id))


def _counters(sandbox_id: str) -> list[Path]:
    folders = Path("/sys/fs/cgroup").glob(f"**/opensessions-*/{sandbox_id}.*")
    return [
        path
        for folder in folders
        for path in folder.glob("memory.*")
        if path.name in ("memory.oom_control", "memory.events")
    ]


def test_i34_a_full_disk_of_its_own(host: Host, neighbour: Inside) -> None:
    inside = host.launch()
    program = """
import os
for number in range(200):
    with open(f"/workspace/{number}", "wb") as file:
        file.write(os.urandom(1 << 20)); file.flush(); os.fsync(file.fileno())
"""
    in_background(inside, program + "import time; time.sleep(60)")
    assert verdict(host, inside) == "It filled its disk of 40 MB."


def test_i34_a_deleted_file_that_is_still_open_counts(host: Host, neighbour: Inside) -> None:
    inside = host.launch()
    program = """
import os, time
files = []
for number in range(3):
    files.append(open(f"/workspace/{number}", "wb")); os.unlink(f"/workspace/{number}")
    files[-1].write(os.urandom(20 << 20)); files[-1].flush(); os.fsync(files[-1].fileno())
time.sleep(60)
"""
    in_background(inside, program)
    assert verdict(host, inside) == "It filled its disk of 40 MB."


def test_i34_hidden_files_and_many_files_count(host: Host, neighbour: Inside) -> None:
    inside = host.launch()
    program = """
import os, time
os.mkdir("/workspace/closed")
for number in range(4000): open(f"/workspace/closed/{number}", "w").close()
os.chmod("/workspace/closed", 0)
time.sleep(60)
"""
    in_background(inside, program)
    assert verdict(host, inside) == "It made more than 2000 files."


def test_i34_file_systems_in_memory_are_bounded(host: Host, neighbour: Inside) -> None:
    inside = host.launch()
    for place, megabytes in (("/tmp", 16), ("/dev/shm", 8), ("/run", 4)):
        inside.run(f"head -c 100M /dev/zero >{place}/full")
        assert inside.run(f"stat -c %s {place}/full; rm -f {place}/full")[1] == f"{megabytes * MB}\n"
    for place in ("/", "/dev", "/etc", "/usr", "/opt/opensessions"):
        assert inside.run(f"touch {place}/file")[0] != 0
    host.call("stop", inside.id)


def test_h13_limits_of_single_processes(host: Host) -> None:
    inside = host.launch()
    script = "ulimit -n; ulimit -c; ulimit -u; ulimit -q; ulimit -v; nice; cat /proc/self/oom_score_adj"
    assert inside.run(script)[1].split() == ["4096", "0", "60", "0", "unlimited", "10", "1000"]
    assert inside.run("ulimit -u 61 || ulimit -n 5000")[0] != 0
    assert inside.run("truncate -s 41M /workspace/large")[0] != 0
    host.call("stop", inside.id)


def test_i42_a_flood_of_output_is_drained_and_forgotten(host: Host) -> None:
    with hosting(host.mode, command=["/usr/bin/bash", "-c", FLOOD]) as other:
        server = Path(f"/proc/{other.process.pid}/statm")
        before = int(server.read_text().split()[1])
        other.call("launch", new_id(), 1, "token")
        assert other.stopped.get(timeout=30)[2] == "Its worker ended with status 9."
        grown = (int(server.read_text().split()[1]) - before) * os.sysconf("SC_PAGE_SIZE")
        assert grown < 8 * MB
        assert sum(path.stat().st_size for path in other.folder.rglob("*") if path.is_file()) < MB


def test_h13_nothing_starts_when_the_disk_is_nearly_full(host: Host) -> None:
    with (
        hosting(host.mode, limits={"disk_reserve": 1 << 60}) as other,
        pytest.raises(RuntimeError, match="is nearly full"),
    ):
        other.call("launch", new_id(), 1, "token")


def test_h13_the_largest_ends_when_the_disk_runs_full(host: Host) -> None:
    free = os.statvfs(host.folder).f_bavail * os.statvfs(host.folder).f_frsize
    with hosting(host.mode, limits={"disk_reserve": free - 300 * MB}) as other:
        small, large = other.launch(), other.launch()
        in_background(
            large,
            "import os, time\nos.system('head -c 400M /dev/zero >/workspace/large')\ntime.sleep(60)",
        )
        sandbox_id, _, reason = other.stopped.get(timeout=30)
        assert sandbox_id == large.id and "disk is nearly full" in reason
        assert small.id


def test_h13_cgroups_hold_where_they_can_be_had() -> None:
    if os.geteuid() != 0 or (groups := cgroups.find(Limits())) is None:
        pytest.skip("needs cgroups that this process may make")
    groups.close()
    with hosting("root", limits=LIMITS) as host:
        inside = host.launch()
        assert _counters(inside.id)
        program = "import sys\ndata = [bytearray(1 << 20) for _ in range(400)]"
        assert inside.python(program)[0] in (137, 1)
        assert inside.run("echo alive")[1] == "alive\n"
        host.call("stop", inside.id)
        assert not _counters(inside.id)
    assert not list(Path("/sys/fs/cgroup").glob(f"**/opensessions-{host.process.pid}"))
