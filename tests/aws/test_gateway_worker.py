"""A sandbox's real worker and agent before a gateway's process, by nothing but what a task is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from opensessions.access import tokens
from opensessions.models import Event, Session
from tests.aws.cloud import REPOSITORY, Cloud, Task, cloud, free_port
from tests.aws.model_server import models
from tests.processes import working_in

_START = """
import sys; sys.path.extend({path!r})
from pathlib import Path
from sandbox_task import worker
from sandbox_task.settings import Paths
worker.main(Paths(Path({root!r})))
"""


def test_from_the_ticket_to_a_page_and_the_end(tmp_path: Path) -> None:
    page, door = free_port(), free_port()
    with (
        models() as model,
        cloud(tmp_path) as running,
        running.gateway(MODEL_URL=model.url, DOOR_PORT=str(door)) as task,
    ):
        session = running.here.create(f"background: python3 -m http.server {page} --bind 127.0.0.1")
        with worker(running, task, session, tmp_path / "workspace", door) as process:
            await_event(running, session, lambda event: event.type == "turn_complete")
            host = {"Host": f"{session.sandbox_id}-p{page}.preview.test"}
            await_page(task, host, lambda answer: "Directory listing" in answer.text)
            await_event(running, session, lambda event: event.type == "version_saved")

            running.here.service.send("acme", session.id, "u1", "run: curl -s https://x.preview.test; true")
            await_event(running, session, lambda event: event.payload.get("code") == "egress_refused")

            running.here.service.end("acme", session.id)
            assert process.wait(20) == 0
            await_page(task, host, lambda answer: answer.status_code == 410)
        assert set(model.keys) == {"sk-canary-of-the-model-key"}


@contextmanager
def worker(
    running: Cloud, task: Task, session: Session, root: Path, door: int
) -> Iterator[subprocess.Popen[bytes]]:
    """As the container's command starts it, with the variables of the task definition and of RunTask."""
    (root / "home").mkdir(parents=True)
    path = [str(REPOSITORY), *(p for p in sys.path if p.endswith("site-packages"))]
    told = {
        "SANDBOX_ID": session.sandbox_id,
        "BOOT_TICKET": tokens.boot_ticket(running.here.token(session)),
        "GATEWAY_URL": task.inside,
        "EGRESS_URL": task.egress,
        "DOOR_PORT": str(door),
        "HOME": str(root / "home"),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    process = subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", _START.format(path=path, root=str(root))],
        env=told, cwd=root, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        for pid in working_in(root):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def await_event(running: Cloud, session: Session, right: Callable[[Event], bool]) -> Event:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        events = running.here.store.events(session.id, 0, 1000)
        for event in events:
            if right(event):
                return event
        time.sleep(0.2)
    raise AssertionError([(event.type, event.payload.get("message")) for event in events])


def await_page(task: Task, host: dict[str, str], right: Callable[[httpx2.Response], bool]) -> None:
    deadline = time.monotonic() + 20
    while not right(answer := httpx2.get(task.public, headers=host, trust_env=False)):
        assert time.monotonic() < deadline, (answer.status_code, answer.text)
        time.sleep(0.05)
