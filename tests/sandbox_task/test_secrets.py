"""What the agent's tools can get at: they run as the worker's own user."""

import base64
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opensessions.events import Assistant
from opensessions.handshake import derived_token
from sandbox_task.payloads import Secrets, encoded
from sandbox_task.settings import settings
from sandbox_task.worker import _own_tokens
from tests.sandbox_task.conftest import TOKEN, Sandbox
from tests.sandbox_task.fake_gateway import eventually

SECRET = TOKEN.rsplit("_", 1)[1]
_THIEF = """
import ctypes, os, sys
pid, secret = int(sys.argv[1]), sys.argv[2].encode()
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, act):
    try:
        print(name, "ok" if act() else "refused")
    except OSError:
        print(name, "refused")
tried("environ", lambda: open(f"/proc/{pid}/environ", "rb").read())
tried("mem", lambda: open(f"/proc/{pid}/mem", "rb"))
tried("maps", lambda: open(f"/proc/{pid}/maps", "rb").read())
tried("fds", lambda: os.listdir(f"/proc/{pid}/fd"))
tried("ptrace", lambda: libc.ptrace(16, pid, 0, 0) == 0)
pidfd = os.pidfd_open(pid)
tried("pidfd_getfd", lambda: libc.syscall(438, pidfd, 0, 0) >= 0)
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(16)
near, far = Vector(ctypes.addressof(buffer), 16), Vector(4096, 16)
libc.process_vm_readv(pid, ctypes.byref(near), 1, ctypes.byref(far), 1, 0)
print("vm_readv", "refused" if ctypes.get_errno() == 1 else "ok")
for name in os.listdir("/proc"):
    try:
        if name.isdigit() and name != str(os.getpid()) and os.stat(f"/proc/{name}").st_uid == os.getuid():
            for file in ("environ", "cmdline"):
                if secret in open(f"/proc/{name}/{file}", "rb").read():
                    print("found in", name, file)
    except OSError:
        pass
"""
_WORKER = """
import os, sys; sys.path.extend({path!r})
from sandbox_task.settings import first_line, settings, undumpable
if {safe}: undumpable()
given = settings(os.environ, lambda: first_line(0))
print("ready", flush=True)
sys.stdin.read()
"""


_WAYS = ("environ", "mem", "maps", "fds", "ptrace", "pidfd_getfd", "vm_readv")


def stolen(safe: bool) -> list[str]:
    """What a thief reports about a process that holds the token; both run as the same plain user."""
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    path = [str(Path(__file__).parents[2]), *(p for p in sys.path if "site-packages" in p)]
    worker_code = _WORKER.format(path=path, safe=safe)
    env = {"SANDBOX_ID": "sb", "GATEWAY_URL": "unix:/x", "EGRESS_URL": "unix:/x", "DOOR_FD": "5"}
    python = ["/usr/bin/python3", "-I", "-c"]
    with subprocess.Popen(
        [*python, worker_code], env=env, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, **nobody
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(f'{{"token": "{TOKEN}"}}\n'.encode())
        worker.stdin.flush()
        assert worker.stdout.readline() == b"ready\n"
        # The thief is given the secret, to look for it, and leaves itself out.
        thief = [*python, _THIEF, str(worker.pid), SECRET]
        try:
            found = subprocess.run(thief, capture_output=True, text=True, cwd="/", timeout=30, **nobody)
        finally:
            worker.kill()  # a thief that succeeded has stopped it
    assert found.stderr == ""
    return found.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of another user, which takes root")
def test_a_process_of_the_same_user_cannot_take_the_token() -> None:
    """H1: neither from environment, memory or descriptors, nor with a debugger."""
    assert stolen(safe=True) == [f"{way} refused" for way in _WAYS]
    # The same thief gets at a process that did not protect itself.
    assert "mem ok" in stolen(safe=False)


async def test_the_token_is_in_no_environment_and_no_file(running: Sandbox) -> None:
    await running.assign("run: env; cat /proc/self/environ | tr '\\0' '\\n'")
    used = str(await running.gateway.first("user"))
    await running.gateway.first("turn_complete")
    model, egress = derived_token(TOKEN, "model"), derived_token(TOKEN, "egress")
    for secret in (TOKEN, SECRET, model, egress):
        assert secret not in str(running.gateway.events)
    assert "ANTHROPIC_API_KEY=[redacted]" in used
    for name in ("SANDBOX_ID", "GATEWAY_URL", "EGRESS_URL", "DOOR_FD", "AWS_", "ECS_"):
        assert name not in used
    assert "PREVIEW_URL=http://sb-test-p3000.preview.localhost:8000" in used
    for file in running.folder.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
    assert running.gateway.tokens <= {f"Bearer {TOKEN}", f"Bearer {model}", model, ""}


async def test_the_agent_inherits_nothing_of_the_task_it_runs_in(sandbox: Sandbox) -> None:
    sandbox.environ = {"AWS_REGION": "x", "ECS_CONTAINER_METADATA_URI": "y", "OTHER": "z"}
    await sandbox.start()
    await sandbox.assign("run: env | grep -cE '^(AWS_|ECS_|OTHER)'")
    assert "0" in (await sandbox.gateway.first("result"))["result"]


async def test_python_code_in_the_workspace_does_not_run_in_the_worker(sandbox: Sandbox) -> None:
    mark = sandbox.folder / "ran"
    packages = sandbox.root / "home/.local/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    for file in (packages / "usercustomize.py", sandbox.root / "json.py", sandbox.root / "sandbox_task.py"):
        file.write_text(f"open({str(mark)!r}, 'w')")
    await sandbox.start()
    await sandbox.gateway.first("sandbox_ready")
    assert not mark.exists()


async def test_it_ends_with_its_host(running: Sandbox) -> None:
    await running.gateway.first("sandbox_ready")
    assert running.process is not None and running.process.stdin is not None
    running.process.stdin.close()
    assert await running.ended() == 0


async def test_it_ends_with_its_token(running: Sandbox) -> None:
    await running.gateway.first("sandbox_ready")
    running.gateway.inbox_status = 410
    running.gateway.faults.append(410)
    await running.assign("say: x")
    assert await running.ended(25) == 0


async def test_sigterm_lets_the_last_events_leave(running: Sandbox) -> None:
    await running.assign("run: until [ -e never ]; do sleep 0.05; done")
    await running.gateway.first("assistant")
    assert running.process is not None
    running.process.send_signal(signal.SIGTERM)
    assert await running.ended(5) == 0
    assert (await running.gateway.first("turn_complete"))["reason"] == "interrupted"
    await eventually(lambda: not (running.root / "never").exists())


def test_every_form_of_the_token_is_redacted() -> None:
    egress = derived_token(TOKEN, "egress")
    basic = base64.b64encode(f"sandbox:{egress}".encode()).decode()
    text = f"{TOKEN} {SECRET} {derived_token(TOKEN, 'model')} {egress} {basic} kept"
    data = encoded(Assistant(message={"text": text}), Secrets(_own_tokens(TOKEN))).decode()
    assert data.count("[redacted]") == 5
    assert "kept" in data


def test_settings_leave_an_environment_that_may_be_inherited() -> None:
    environ = {
        "SANDBOX_ID": "sb", "GATEWAY_URL": "http://g:1", "EGRESS_URL": "http://g:2", "DOOR_PORT": "7000",
        "HOME": "/h", "PATH": "/bin", "AWS_SECRET": "x", "LD_PRELOAD": "y",
    }  # fmt: skip
    given = settings(environ, lambda: b'{"token": "osw_00_abc"}')
    assert environ == {"HOME": "/h", "PATH": "/bin"}
    assert (given.door_port, given.door_fd, given.token) == (7000, None, "osw_00_abc")
    assert "abc" not in repr(given)
    with pytest.raises(SystemExit, match="GATEWAY_URL"):
        settings({"SANDBOX_ID": "sb"}, lambda: b"{}")
