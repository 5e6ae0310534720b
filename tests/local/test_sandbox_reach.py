"""What a hostile program inside reaches of the host: its files, its sockets, its networks, and what the host
itself opens. The numbers are those of the threat model.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.hosts import MODES, REPOSITORY, Host, Inside, eventually, hosting, new_id


@pytest.fixture(scope="module", params=MODES)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with hosting(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def inside(host: Host) -> Inside:
    return host.launch()


def test_i13_the_hosts_files_are_absent(inside: Inside) -> None:
    other = inside.host.launch()
    other.run("echo secret >/workspace/secret")
    folder = inside.host.folder
    absent = [
        "/etc/shadow",
        "/root",
        "/home",
        "/var",
        "/sys",
        "/boot",
        "/mnt",
        "/srv",
        "/opt/hostedtoolcache",
    ]
    absent += [
        str(folder),
        str(folder / "workspaces"),
        str(REPOSITORY / "pyproject.toml"),
        str(Path.home() / ".ssh"),
    ]
    assert inside.run("; ".join(f"test ! -e {path} || echo {path}" for path in absent)) == (0, "")
    assert inside.run("ls /")[1].split() == sorted(
        {
            "bin",
            "dev",
            "etc",
            "lib",
            "opt",
            "proc",
            "run",
            "sbin",
            "tmp",
            "usr",
            "workspace",
        }
        | {path.name for path in Path("/").glob("lib*")}
    )
    assert inside.run("cat /etc/passwd")[1].count("\n") == 1


def test_i14_loopback_abstract_sockets_and_daemons_are_out_of_reach(inside: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as api, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0abstract-{new_id()}"
        abstract.bind(name)
        abstract.listen()
        program = f"""
import socket
for family, address in ((2, ("127.0.0.1", {api.getsockname()[1]})), (1, {name!r}), (1, "/run/docker.sock"),
                        (1, "/run/dbus/system_bus_socket"), (1, "/var/run/docker.sock")):
    with socket.socket(family) as each:
        print(each.connect_ex(address))
"""
        assert all(int(word) > 0 for word in inside.python(program)[1].split())


def test_i15_no_route_and_no_names(inside: Inside) -> None:
    program = """
import socket, time
begun = time.monotonic()
for family, kind, address in ((2, 1, ("192.0.2.1", 443)), (2, 2, ("192.0.2.1", 53)),
                              (10, 1, ("2001:db8::1", 443)), (2, 1, ("169.254.169.254", 80))):
    with socket.socket(family, kind) as each:
        print(each.connect_ex(address))
try: socket.getaddrinfo("example.com", 80)
except OSError: print(1)
assert time.monotonic() - begun < 5
"""
    status, output = inside.python(program)
    assert status == 0 and len(output.split()) == 5 and "0" not in output.split(), output


def test_i38_c3_nothing_that_a_sandbox_made_is_opened_by_the_host(inside: Inside) -> None:
    before = os.lstat(inside.door)
    script = (
        "rm -f /run/gateway.sock /run/egress.sock; ln -sf /run/docker.sock /run/gateway.sock; mv /run /run2"
    )
    assert inside.run(script)[0] != 0
    assert inside.run("stat -c %F /run/gateway.sock /run/egress.sock")[1] == "socket\nsocket\n"
    assert inside.run(f"test -e {inside.door}")[0] != 0
    after = os.lstat(inside.door)
    assert (after.st_ino, after.st_dev) == (before.st_ino, before.st_dev)
    assert Path(inside.door).parent == inside.host.folder / "run"


def test_i38_c3_only_the_door_is_inherited(host: Host) -> None:
    script = """
        exec >/workspace/found; for each in /proc/$$/fd/* /proc/1/fd/*; do readlink $each; done
        touch /workspace/whole; exec sleep 1000
    """
    with hosting(host.mode, command=["/usr/bin/bash", "-c", script]) as other:
        sandbox_id = new_id()
        other.call("launch", sandbox_id, 1, "token")
        workspace = other.folder / "workspaces" / sandbox_id
        eventually((workspace / "whole").exists)
        found = (workspace / "found").read_text().split()
    kinds = [target.split(":")[0] for target in found if target != "/workspace/found"]
    assert sorted(kinds) == ["anon_inode", *["pipe"] * 5, "socket"]


def test_h15_standard_streams_are_pipes_of_a_session_of_their_own(inside: Inside) -> None:
    assert inside.run("readlink /proc/1/fd/0 /proc/1/fd/1 /proc/1/fd/2 | grep -vc ^pipe:")[1] == "0\n"
    server = os.getsid(inside.host.process.pid)
    assert all(os.getsid(process.pid) != server for process in inside.processes)


def test_c4_links_planted_in_a_workspace_lead_nowhere(host: Host) -> None:
    """The measuring and the removal meet them."""
    inside = host.launch()
    victim = host.folder / "victim"
    victim.mkdir()
    (victim / "file").write_text("untouched")
    for path in (victim, victim / "file"):
        os.chown(path, *(2 * [inside.processes[0].uids().real]))
    for number, target in enumerate((victim, "/etc/passwd", "/proc/self/environ", "../.."), 2):
        links = "; ".join(f"ln -s {target} {name}" for name in ("home", "link", ".cache"))
        inside.run(f"cd /workspace; rm -rf home link .cache; {links}")
        inside = host.launch(inside.id, number)
        assert inside.run("true")[0] == 0
    host.call("stop", inside.id)
    eventually(lambda: not list((host.folder / "workspaces").glob("gone-*")))
    assert [path.name for path in victim.iterdir()] == ["file"] and (
        victim / "file"
    ).read_text() == "untouched"
