"""The parts of the local runtime that need no sandbox to be tried."""

import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from opensessions.errors import LaunchFailed
from opensessions.local.walls import bubblewrap, cgroups, disk, preflight, processes, watchdog
from opensessions.local.walls.bubblewrap import Bind, Recipe
from opensessions.local.walls.disk import DiskWatch
from opensessions.local.walls.limits import Limits
from opensessions.local.walls.output import RING, Output
from opensessions.local.walls.trash import Trash
from opensessions.local.walls.venv import interpreter_binds
from opensessions.local.walls.workspaces import UidRange, Workspaces

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ONE, TWO = "sb-" + "0" * 31 + "1", "sb-" + "0" * 31 + "2"
MB = 1 << 20


@needs_root
def test_c1_two_sandboxes_never_share_a_user_while_files_exist(tmp_path: Path) -> None:
    uids = UidRange(first=0x7F000000, count=2)
    workspaces = Workspaces(tmp_path / "w", uids)
    owners = [workspaces.make(sandbox_id)[1] for sandbox_id in (ONE, TWO)]
    assert sorted(owners) == [0x7F000000, 0x7F000001]
    (left,) = workspaces.discard(ONE)
    for _ in range(2):
        with pytest.raises(LaunchFailed, match="users for sandboxes are taken"):
            workspaces.make("sb-" + "0" * 31 + "3")
    again = Workspaces(tmp_path / "w", uids)
    assert (again.owner(left), again.owner(again.path(TWO))) == tuple(owners)
    left.rmdir()
    assert again.make(ONE)[1] == owners[0]


def test_what_a_server_left_behind_is_found_and_the_names_are_free(tmp_path: Path) -> None:
    workspaces = Workspaces(tmp_path, UidRange() if os.geteuid() == 0 else None)
    for sandbox_id in (ONE, TWO):
        workspaces.make(sandbox_id)
    assert workspaces.discard(ONE) and not workspaces.discard(ONE)
    (tmp_path / "other").mkdir()
    (tmp_path / "sb-link").symlink_to(tmp_path / "other")
    left = Workspaces(tmp_path, None).leftovers()
    assert len(left) == 2 and {path.name[:5] for path in left} == {"gone-"}
    assert sorted(path.name for path in tmp_path.iterdir() if path not in left) == ["other", "sb-link"]
    workspaces.make(ONE)


@needs_root
def test_a_folder_of_somebody_else_is_nobodys_to_empty(tmp_path: Path) -> None:
    (tmp_path / ONE).mkdir()
    os.chown(tmp_path / ONE, 1000, 1000)
    for uids in (UidRange(), None):
        with pytest.raises(PermissionError, match="belongs to user 1000"):
            Workspaces(tmp_path, uids).owner(tmp_path / ONE)


def test_a_link_in_the_place_of_a_workspace_is_refused(tmp_path: Path) -> None:
    (tmp_path / ONE).symlink_to(tmp_path)
    with pytest.raises(OSError):
        Workspaces(tmp_path, UidRange() if os.geteuid() == 0 else None).make(ONE)


def test_trash_goes_on_past_what_it_cannot_delete_and_its_end_waits_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reached, go = threading.Event(), threading.Event()

    def empty(folder: Path) -> None:
        if folder.name == "stuck":
            raise OSError("it is stuck")
        reached.set()
        go.wait(20)
        (folder / "file").unlink()

    trash, folders = Trash(empty), [tmp_path / name for name in ("nothing", "stuck", "first", "second")]
    for folder in folders:
        folder.mkdir()
        if folder.name != "nothing":
            (folder / "file").touch()
    trash.add(folders)
    assert reached.wait(10)
    assert not folders[0].exists() and "stuck could not be deleted: it is stuck" in caplog.text
    closing = threading.Thread(target=trash.close)
    closing.start()
    go.set()
    closing.join(10)
    assert [folder.name for folder in folders if folder.exists()] == ["stuck", "second"]


def test_no_secret_and_nothing_writable_but_the_workspace_in_the_options() -> None:
    recipe = Recipe(
        (Bind(Path("/w"), "/workspace", writable=True), Bind(Path("/v"), "/v")), ("true",), {"A": "b"}
    )
    options = bubblewrap.options(recipe, Limits(), 9, {"/etc/passwd": 8}, frozenset(["--disable-userns"]))
    assert [options[at + 1] for at, word in enumerate(options) if word == "--bind"] == ["/w"]
    tmpfs = [at for at, word in enumerate(options) if word == "--tmpfs"]
    assert tmpfs and all(options[at - 2] == "--size" for at in tmpfs)
    assert options[options.index("--cap-drop") + 1] == "ALL" and "--cap-add" not in options
    for word in ("--unshare-all", "--disable-userns", "--new-session", "--die-with-parent", "--clearenv"):
        assert word in options
    old = bubblewrap.options(recipe, Limits(), 9, {}, frozenset())
    assert "--disable-userns" not in old


def test_a_venv_brings_its_interpreter_along(tmp_path: Path) -> None:
    """By two links, one of them of a folder, as tools that install Python make them."""
    real, venv = tmp_path / "python-3.11.9", tmp_path / "venv"
    (real / "bin").mkdir(parents=True)
    (real / "lib/python3.11").mkdir(parents=True)
    (real / "lib/python3.11/os.py").touch()
    (real / "bin/python3.11").touch()
    (tmp_path / "python-3.11").symlink_to(real)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/python3").symlink_to(tmp_path / "python-3.11/bin/python3.11")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to("python3")
    (venv / "bin/python3").symlink_to(tmp_path / "links/python3")
    binds = {bind.inside.removeprefix(f"{tmp_path}/"): bind.source.name for bind in interpreter_binds(venv)}
    assert binds == {
        "/opt/venv": "venv",
        "links/python3": "python3.11",
        "python-3.11/bin": "bin",
        "python-3.11/lib": "lib",
        "python-3.11.9/bin": "bin",
        "python-3.11.9/lib": "lib",
    }


@pytest.mark.parametrize("python", ["/usr/bin/python3", "/bin/python3"])
def test_the_systems_own_python_needs_nothing_more(tmp_path: Path, python: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(python)
    assert interpreter_binds(tmp_path) == (Bind(tmp_path, "/opt/venv"),)


def test_i42_output_keeps_a_megabyte_and_shows_no_control_characters() -> None:
    reading, writing = os.pipe()
    output = Output(reading)
    thread = threading.Thread(target=output.drain)
    thread.start()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"x" * (3 * RING))
        pipe.write(b"\nfirst\n\x1b]52;c;evil\x07\r\xe2\x80\xaelast \xff\n\n")
    thread.join()
    os.close(reading)
    assert output.size() <= RING
    assert output.tail(lines=3).splitlines() == ["first", "]52;c;evil", "last �"]
    assert len(output.tail(lines=9)) <= 600


def test_processes_are_found_by_their_parents() -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 60 & echo; wait"], stdout=subprocess.PIPE, process_group=0)
    assert process.stdout
    with process.stdout as pipe:
        pipe.readline()
        family = list(processes.descendants(process.pid, processes.table()))
        assert [(each.parent, each.threads) for each in family] == [(process.pid, 1)]
        assert 0 < processes.proportional_memory(family[0].pid) < 10 * MB
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert processes.proportional_memory(process.pid) == 0


class Tenant:
    init = 0
    cgroup = None

    def __init__(self, size: int, files: int = 0) -> None:
        self.size, self.files, self.measured = size, files, 0
        self.verdicts: list[str] = []

    def measure(self) -> tuple[int, int]:
        self.measured += 1
        return self.size, self.files

    def condemn(self, verdict: str) -> None:
        self.verdicts.append(verdict)


def test_h13_a_workspace_is_walked_only_when_it_can_be_over(tmp_path: Path) -> None:
    now = [0.0]
    watch = DiskWatch(
        tmp_path, Limits(disk=1 << 50, inodes=1 << 40, disk_reserve=0, inode_reserve=0), lambda: now[0]
    )
    tenant = Tenant(10)
    for second in (0.0, 0.5, 1.0, 1.5, 5.0, 10.9, 11.1, 20.0):
        now[0] = second
        watch.look([tenant])
    assert tenant.measured == 2 and not tenant.verdicts


def test_h13_over_the_limit_and_the_largest(tmp_path: Path) -> None:
    now = [0.0]
    limits = Limits(disk=100 * MB, inodes=100, disk_reserve=0, inode_reserve=0)
    watch = DiskWatch(tmp_path, limits, lambda: now[0])
    tenants = [Tenant(101 * MB), Tenant(MB, 101), Tenant(MB, 1)]
    watch.look(tenants)
    now[0] = 1.0
    watch.look(tenants)
    assert [len(tenant.verdicts) for tenant in tenants] == [1, 1, 0]
    full = DiskWatch(tmp_path, replace(limits, disk_reserve=1 << 60), lambda: now[0])
    pair = [Tenant(MB), Tenant(2 * MB)]
    full.look(pair)
    assert [len(tenant.verdicts) for tenant in pair] == [0, 1]


def test_h13_the_largest_ends_when_the_machine_has_no_memory() -> None:
    tenants = [Tenant(0), Tenant(0)]
    for tenant in tenants:
        tenant.init = 1 << 22
    watchdog.watch_memory(tenants, Limits(memory_reserve=1 << 60))
    assert sum(len(tenant.verdicts) for tenant in tenants) == 1


def test_a_cgroup_of_version_2_is_made_at_the_top_when_our_own_has_processes(tmp_path: Path) -> None:
    """A folder stands in for the kernel's; only the kernel would make the files in new groups."""
    (tmp_path / "top/user.slice").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("0::/user.slice\n")
    (tmp_path / "mountinfo").write_text(f"29 23 0:26 / {tmp_path}/top rw,nosuid - cgroup2 cgroup2 rw\n")
    assert cgroups._candidates(tmp_path) == [[tmp_path / "top/user.slice"], [tmp_path / "top"]]
    assert cgroups.find(Limits(), tmp_path) is None
    assert not list(tmp_path.glob("top/**/opensessions-*"))
    group = cgroups.Cgroups([tmp_path / "top"], Limits(memory=5))
    (tmp_path / "top/sb").mkdir()
    for name in ("memory.max", "memory.swap.max", "pids.max", "cgroup.procs"):
        (tmp_path / "top/sb" / name).touch()
    (tmp_path / "top/sb/memory.events").write_text("oom 1\noom_kill 2\n")
    made = group.make("sb")
    made.add(12)
    texts = {
        path.name: path.read_text()
        for path in (tmp_path / "top/sb").iterdir()
        if path.name != "memory.events"
    }
    assert texts == {"memory.max": "5", "memory.swap.max": "0", "pids.max": "1024", "cgroup.procs": "12"}
    assert made.out_of_memory()


def test_a_cgroup_of_version_1_is_a_pair_beneath_our_own(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("8:pids:/\n4:memory:/docker/1/a\n0::/\n")
    lines = (
        "31 24 0:27 /docker/1 /m rw shared:1 - cgroup cgroup rw,memory",
        "32 24 0:28 / /p rw - cgroup cgroup rw,pids",
    )
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    assert cgroups._candidates(tmp_path) == [[Path("/m/a"), Path("/p")]]


def test_without_bubblewrap_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchFailed, match="apt install bubblewrap"):
        preflight.bubblewrap_program()
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho ' --args FD --die-with-parent --ro-bind-data --seccomp --cap-drop'\n")
    old.chmod(0o755)
    with pytest.raises(LaunchFailed, match="too old: it lacks --size, --perms"):
        preflight.bubblewrap_program()


def test_c1_root_without_other_users_is_refused(tmp_path: Path) -> None:
    for name in ("uid_map", "gid_map"):
        (tmp_path / name).write_text("         0     100000      65536\n")
    with pytest.raises(LaunchFailed, match="no such users"):
        preflight.require_uids(UidRange(), tmp_path)
    preflight.require_uids(UidRange(first=60000, count=5000), tmp_path)


def test_a_path_too_long_for_sockets_is_refused() -> None:
    preflight.require_short(Path("/" + "x" * 65))
    with pytest.raises(LaunchFailed, match="too long for sockets"):
        preflight.require_short(Path("/" + "x" * 66))


def test_refused_namespaces_are_explained() -> None:
    assert "sysctl" in preflight.explain("bwrap: setting up uid map: Permission denied")
    assert preflight.explain("bwrap: Can't find source path /x") == ""


def test_space_is_that_of_the_disk(tmp_path: Path) -> None:
    found = disk.space(tmp_path)
    assert found.taken > 0 and found.free > 0
