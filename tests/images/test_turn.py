"""The sandbox's image at work: from the boot ticket to a page that one can open."""

from pathlib import Path

import pytest

from opensessions.models import Status
from tests.images.host import host
from tests.images.podman import podman

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]
THIEF = """
import os
def taken(pid):
    for file in ("environ", "maps"):
        try:
            open(f"/proc/{pid}/{file}", "rb").read(1)
            yield file
        except OSError:
            pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    words = open(f"/proc/{pid}/cmdline").read().split(chr(0))
    if words[0].startswith("/opt/opensessions/venv/bin/python"):
        print("worker", *taken(pid))
    elif words[0].endswith("/claude"):
        print("agent", *taken(pid))
"""


async def test_it_takes_an_assignment_and_completes_turns(sandbox_image: str, tmp_path: Path) -> None:
    async with host(sandbox_image, tmp_path) as there:
        session = await there.create("Build a todo app")
        events = await there.events(session, "turn_complete")
        kinds = [event.type for event in events]
        assert "error" not in kinds, [event.payload for event in events]
        assert kinds.index("sandbox_ready") < kinds.index("turn_started") < kinds.index("result")
        assert events[-1].payload["reason"] == "completed"
        page = await there.preview(session)
        assert (page.status_code, "todo" in page.text.lower()) == (200, True)

        told = podman("exec", session.sandbox_id, "python", "-c", THIEF)
        assert sorted(told.splitlines()) == ["agent environ maps", "worker"]

        again = await there.send(session, "Make it dark")
        events = await there.events(session, "turn_complete", after=again.head.last_seq)
        assert events[-1].payload["reason"] == "completed"
        assert there.here.now(session).head.status is Status.READY
