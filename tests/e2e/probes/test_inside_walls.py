"""What a program in a sandbox tries against its walls.

The numbers are the threat model's: a probe passes when it is refused and the host is unchanged.
"""

import os
from pathlib import Path

import psutil

from tests.e2e.probes.hostile import Inside, canary, on_x86, system_calls
from tests.e2e.server import REPO, Server


def test_i04_mounts_cannot_be_made_writable(inside: Inside) -> None:
    name = canary()
    places = ("/usr", "/opt/opensessions", "/", "/etc", "/opt/venv")
    for place in places:
        script = f"mount -o remount,rw,bind {place}; mount -t tmpfs none {place}; touch {place}/{name}"
        assert inside.run(script)[0] != 0
    assert not [place for place in places if Path(place, name).exists()]


def test_i05_the_machines_settings_are_closed(inside: Inside) -> None:
    names = ["sys/kernel/core_pattern", "sys/kernel/printk_ratelimit_burst", "sys/vm/drop_caches"]
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    for name in [*names, "sysrq-trigger", "sys/kernel/hostname"]:
        assert inside.run(f"echo 1 >/proc/{name}")[0] != 0, name
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_i06_no_rights_inside_and_a_user_of_its_own_outside(inside: Inside, neighbour: Inside) -> None:
    lines = dict(line.split(":\t", 1) for line in inside.run("cat /proc/self/status")[1].splitlines())
    assert [lines[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == ["0" * 16] * 5
    assert lines["NoNewPrivs"] == "1" and lines["Seccomp"] == "2"
    server = psutil.Process(inside.server.process.pid).uids().real
    users = [{process.uids().real for process in each.processes} for each in (inside, neighbour)]
    assert all(len(each) == 1 and 0 not in each for each in users)
    assert users[0] != users[1] if server == 0 else users == [{server}, {server}]


def test_i06_c1_a_planted_setuid_program_belongs_to_the_sandboxs_user(inside: Inside) -> None:
    inside.run("cp /usr/bin/id /workspace/planted; chmod 6755 /workspace/planted")
    folder = inside.server.data / "data" / "workspaces"
    assert folder.stat().st_mode & 0o077 == 0
    found = (folder / inside.session["sandboxId"] / "planted").stat()
    assert found.st_uid == inside.processes[0].uids().real != 0


def test_i07_no_new_namespaces(inside: Inside) -> None:
    tries = ("unshare -U true", "unshare -Urm true", "unshare -n true", "chroot / true")
    for script in (*tries, "nsenter -t 1 -m true", "bwrap --ro-bind / / true"):
        assert inside.run(script)[0] != 0, script


@on_x86
def test_i07_namespaces_by_system_call(inside: Inside) -> None:
    new_user, sigchld = 0x10000000, 17
    calls: list[tuple[int, ...]] = [(272, new_user), (56, new_user | sigchld, 0, 0, 0, 0), (435, 0, 0)]
    calls += [(308, 0, 0), (161, 0), (165, 0, 0, 0, 0, 0)]
    assert system_calls(inside, *calls) == ["EPERM", "EPERM", "ENOSYS", "EPERM", "EPERM", "EPERM"]


@on_x86
def test_i08_keyrings_are_closed(inside: Inside) -> None:
    calls = ((250, 0, -3), (248, 0, 0, 0, 0, 0), (249, 0, 0, 0, 0))
    assert system_calls(inside, *calls) == ["EPERM"] * 3


@on_x86
def test_i09_large_and_young_parts_of_the_kernel_are_closed(inside: Inside) -> None:
    calls = ((425, 1, 0), (321, 0, 0, 0), (323, 0), (298, 0, 0, 0, 0, 0))
    assert system_calls(inside, *calls) == ["EPERM"] * 4
    assert system_calls(inside, (1 << 30 | 272, 0)) == ["ENOSYS"]


def test_i10_socket_families(inside: Inside) -> None:
    program = """
import errno, json, socket
told = []
for family in (40, 38, 17, 44, 2, 10, 1):
    try:
        socket.socket(family, socket.SOCK_STREAM if family != 17 else socket.SOCK_RAW).close()
        told.append("ok")
    except OSError as error:
        told.append(errno.errorcode[error.errno])
print(json.dumps(told))
"""
    assert inside.python(program) == ["EAFNOSUPPORT"] * 4 + ["ok"] * 3


def test_i11_there_is_no_terminal_to_type_into(inside: Inside) -> None:
    program = """
import fcntl, json, os
told = []
for path in ("/dev/tty", "/dev/console", "/proc/1/fd/0", "/proc/1/fd/1", "/proc/1/fd/2"):
    try:
        fcntl.ioctl(os.open(path, os.O_RDWR | os.O_NONBLOCK), 0x5412, b"x")
        told.append(path)
    except OSError:
        pass
print(json.dumps(told))
"""
    assert inside.python(program) == []
    assert all(process.terminal() is None for process in inside.processes)
    assert all(os.getsid(process.pid) != os.getsid(0) for process in inside.processes)


def test_i13_the_hosts_files_are_absent(inside: Inside, neighbour: Inside) -> None:
    neighbour.run("echo secret >/workspace/secret")
    data = inside.server.data
    absent = ["/etc/shadow", "/root", "/home", "/var", "/sys", "/boot", "/mnt", "/srv", "/run/docker.sock"]
    absent += map(str, (data, data / "data" / "workspaces", data / "data" / "master.key"))
    absent += map(str, (REPO / "pyproject.toml", REPO / ".git", REPO / ".venv", Path.home() / ".ssh"))
    assert inside.run("; ".join(f"test ! -e {path} || echo {path}" for path in absent)) == (0, "")
    theirs = neighbour.session["sandboxId"]
    assert inside.run(f"find / -name '*{theirs}*' -o -name secret 2>/dev/null")[1] == ""
    assert inside.run("cat /etc/passwd")[1].count("\n") == 1


def test_i13_the_servers_data_is_closed_on_the_host(server: Server) -> None:
    folder = server.data / "data"
    assert folder.stat().st_mode & 0o077 == 0
    for name in ("master.key", "sessions.db"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name
