"""What a hostile program inside tries on its walls, with the server as root and as a plain user. The numbers
are those of the threat model: a probe passes when it is refused and the host is unchanged.
"""

import os
import pty
import secrets
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.hosts import MODES, Host, Inside, hosting, new_id

CANARY = f"canary-{secrets.token_hex(16)}"
TOKEN = f"token-{secrets.token_hex(16)}"


@pytest.fixture(scope="module", params=MODES)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with hosting(request.param, environment={"ANTHROPIC_API_KEY": CANARY}) as made:
        yield made


@pytest.fixture(scope="module")
def inside(host: Host) -> Inside:
    return host.launch(token=TOKEN)


def system_calls(inside: Inside, *calls: tuple[int, ...]) -> list[str]:
    """The error of each x86-64 system call, given as number and arguments; "0" when it was let through."""
    program = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for number, *arguments in {calls!r}:
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments])
    print(errno.errorcode[ctypes.get_errno()] if result < 0 else 0)
"""
    status, output = inside.python(program)
    assert status == 0, output
    return output.split()


on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")


def test_i01_c2_process_1_shows_nothing_of_the_server(inside: Inside) -> None:
    _, output = inside.run(
        "cat /proc/1/environ /proc/1/cmdline | tr '\\0' '\\n'; env; cat /proc/[0-9]*/environ"
    )
    assert CANARY not in output and TOKEN not in output and str(inside.host.folder) not in output
    assert inside.run("wc -c </proc/1/environ")[1].strip() == "0"


def test_i01_h1_no_secret_in_the_hosts_process_list(inside: Inside) -> None:
    for process in inside.processes:
        words = " ".join(process.cmdline()) + str(process.environ())
        assert TOKEN not in words and CANARY not in words
    assert {len(process.environ()) for process in inside.processes[:2]} == {0}


def test_i02_no_memory_inside_holds_a_token(inside: Inside) -> None:
    program = f"""
import os, re
secrets = [part[::-1].encode() for part in ({CANARY[::-1]!r}, {TOKEN[::-1]!r})]
own = os.getpid()
for pid in [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own]:
    for name in ("environ", "cmdline", "maps"):
        try: data = open(f"/proc/{{pid}}/{{name}}", "rb").read()
        except OSError: continue
        if any(secret in data for secret in secrets): print("found in", pid, name)
    try:
        maps, memory = open(f"/proc/{{pid}}/maps").read(), open(f"/proc/{{pid}}/mem", "rb")
    except OSError: continue
    for line in maps.splitlines():
        first, last = (int(word, 16) for word in line.split()[0].split("-"))
        try:
            memory.seek(first); data = memory.read(last - first)
        except (OSError, ValueError, OverflowError): continue
        if any(secret in data for secret in secrets): print("found in memory of", pid)
print("read")
"""
    assert inside.python(program) == (0, "read\n")


def test_i04_c1_mounts_cannot_be_made_writable(inside: Inside) -> None:
    name = f"canary-{secrets.token_hex(8)}"
    for place in ("/usr", "/opt/opensessions", "/", "/etc", "/opt/venv"):
        script = f"mount -o remount,rw,bind {place}; mount -t tmpfs none {place}; touch {place}/{name}"
        assert inside.run(script)[0] != 0
    assert not list(Path("/usr").glob(name)) and not list(Path(sys.prefix).glob(name))


def test_i05_c1_the_machines_settings_are_closed(inside: Inside) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    for name in (
        "sys/kernel/core_pattern",
        "sys/kernel/printk_ratelimit_burst",
        "sysrq-trigger",
        "sys/vm/drop_caches",
    ):
        assert inside.run(f"echo 1 >/proc/{name}")[0] != 0
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_i06_c1_no_rights_inside_and_a_user_of_its_own_outside(inside: Inside) -> None:
    lines = dict(line.split(":\t", 1) for line in inside.run("cat /proc/self/status")[1].splitlines())
    assert [lines[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == ["0" * 16] * 5
    assert lines["NoNewPrivs"] == "1" and lines["Seccomp"] == "2"
    other = inside.host.launch()
    users = [{process.uids().real for process in each.processes} for each in (inside, other)]
    assert all(len(each) == 1 and 0 not in each for each in users)
    if inside.host.mode == "root":
        assert users[0] != users[1]
        groups = (
            Path(f"/proc/{inside.processes[0].pid}/status").read_text().split("Groups:")[1].split("\n")[0]
        )
        assert not groups.split()
    host_file = inside.host.folder / "workspaces" / inside.id / "planted"
    inside.run("cp /usr/bin/id /workspace/planted; chmod 4755 /workspace/planted")
    assert host_file.stat().st_uid in users[0]


def test_c1_no_user_is_anothers_while_both_have_files() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with hosting("root") as host:
        ids = [new_id() for _ in range(3)]
        for number in (1, 2):
            for sandbox_id in ids:
                assert host.launch(sandbox_id, number).run("touch /workspace/mine")[0] == 0
            files = [host.folder / "workspaces" / sandbox_id / "mine" for sandbox_id in ids]
            assert len({file.stat().st_uid for file in files} - {0}) == 3


def test_i07_no_new_namespaces(inside: Inside) -> None:
    for script in (
        "unshare -U true",
        "unshare -Urm true",
        "unshare -n true",
        "chroot / true",
        "nsenter -t 1 -m true",
    ):
        assert inside.run(script)[0] != 0, script
    assert inside.run("bwrap --ro-bind / / true")[0] != 0


@on_x86
def test_i07_h14_namespaces_by_system_call(inside: Inside) -> None:
    new_user, sigchld = 0x10000000, 17
    calls = (
        (272, new_user),
        (56, new_user | sigchld, 0, 0, 0, 0),
        (435, 0, 0),
        (308, 0, 0),
        (161, 0),
        (165, 0, 0, 0, 0, 0),
    )
    assert system_calls(inside, *calls) == ["EPERM", "EPERM", "ENOSYS", "EPERM", "EPERM", "EPERM"]


@on_x86
def test_i08_i09_h14_refused_system_calls(inside: Inside) -> None:
    calls = (
        (250, 0, -3),
        (248, 0, 0, 0, 0, 0),
        (249, 0, 0, 0, 0),
        (425, 1, 0),
        (321, 0, 0, 0),
        (323, 0),
        (298, 0, 0, 0, 0, 0),
    )
    assert system_calls(inside, *calls) == ["EPERM"] * len(calls)
    others = ((101, 0, 0, 0, 0), (310, 1, 0, 0, 0, 0, 0), (438, 0, 0, 0), (1 << 30 | 272, 0))
    assert system_calls(inside, *others) == ["EPERM", "EPERM", "EPERM", "ENOSYS"]


def test_i10_socket_families(inside: Inside) -> None:
    program = """
import errno, socket
for family in (40, 38, 17, 44, 2, 10, 1):
    try:
        socket.socket(family, socket.SOCK_STREAM if family != 17 else socket.SOCK_RAW).close()
        print("ok")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    assert inside.python(program)[1].split() == ["EAFNOSUPPORT"] * 4 + ["ok"] * 3


def _terminal(pid: int) -> int:
    """The number of a process's terminal, 0 for none, as the kernel tells it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4])


def test_i11_h15_no_terminal_to_type_into(host: Host) -> None:
    """The server has a controlling terminal; what is typed there by TIOCSTI its shell would run."""
    program = """
import fcntl, os
for path in ("/dev/tty", "/dev/console", "/dev/pts/0", "/dev/tty1"):
    try:
        tty = os.open(path, os.O_RDWR)
    except OSError:
        print("no tty"); continue
    for letter in b"touch /tmp/typed\\n":
        fcntl.ioctl(tty, 0x5412, bytes([letter]))
    print("typed")
"""
    controller, terminal = pty.openpty()
    try:
        with hosting(host.mode, terminal=terminal) as other:
            assert _terminal(other.process.pid) != 0
            inside = other.launch()
            assert inside.python(program) == (0, "no tty\n" * 4)
            assert {_terminal(process.pid) for process in inside.processes} == {0}
            assert not select.select([controller], [], [], 0)[0]
    finally:
        os.close(controller)
        os.close(terminal)
