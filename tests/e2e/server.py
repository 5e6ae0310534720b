"""The product as a user runs it: `python -m opensessions.local.server`, over real sockets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

T = TypeVar("T")
REPO = Path(__file__).parents[2]
KEY = "osb_test_key_of_the_end_to_end_suite"
DOCUMENTED = {
    "prompt": "Build a todo app with Next.js and Tailwind",
    "user_id": "user_42",
    "agent_config": {
        "system_prompt": "You are a careful builder of small web apps.",
        "skills": {
            ".claude/skills/build-app/SKILL.md": "# Build app\n\nAlways start a dev server on port 3000.\n"
        },
    },
}


def until(ask: Callable[[], T], seconds: float = 30, pause: float = 0.05) -> T:
    """The first truthy answer; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(pause)
    raise AssertionError(f"not true within {seconds} s: {ask}")


@dataclass
class Server:
    """A running server. `user` is the uid it runs as, None for the test's own."""

    data: Path
    user: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0

    def start(self) -> "Server":
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),
            "PORT": str(self.port),
            "OPENSESSIONS_API_KEY": KEY,
        }
        own |= {"OPENSESSIONS_DATA_DIR": str(self.data / "data"), **self.environment}
        log = (self.data / "server.log").open("ab", buffering=0)
        self._began = log.tell()
        if self.user is not None:
            os.chown(self.data, self.user, self.user)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "opensessions.local.server"],
            cwd=REPO, env=own, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            user=self.user, group=self.user, extra_groups=None if self.user is None else [],
        )  # fmt: skip
        log.close()
        self.url = until(self._announced)
        self.port = int(self.url.rsplit(":", 1)[1])
        self.http = httpx2.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=30)
        return self

    def _announced(self) -> str | None:
        over = self.process.poll() is not None
        text = (self.data / "server.log").read_bytes()[self._began :].decode(errors="replace")
        assert not over, text
        found = re.findall(r"http://127\.0\.0\.1:\d+", text)
        return found[0] if found else None

    def log(self) -> str:
        return (self.data / "server.log").read_text(errors="replace")

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.http.close()
        self.process.send_signal(how)
        return self.process.wait(10)

    def create(self, prompt: str = "", **more: Any) -> dict[str, Any]:
        body = {**DOCUMENTED, **({"prompt": prompt, "agent_config": {}} if prompt else {}), **more}
        answer = self.http.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def get(self, session: dict[str, Any]) -> dict[str, Any]:
        return self.http.get(f"/v1/sessions/{session['id']}").json()  # type: ignore[no-any-return]

    def send(self, session: dict[str, Any], text: str) -> dict[str, Any]:
        body = {"message": text, "user_id": session["userId"]}
        answer = self.http.post(f"/v1/sessions/{session['id']}/messages", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def delete(self, session: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.delete(f"/v1/sessions/{session['id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def stream(
        self, session: dict[str, Any], after: int = 0, seconds: float = 60, **query: str
    ) -> Iterator[dict[str, Any]]:
        """The session's events as they come, until the stream closes."""
        path = f"/v1/sessions/{session['id']}/events"
        with self.http.stream("GET", path, params={"after": str(after), **query}, timeout=seconds) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])

    def events(
        self, session: dict[str, Any], last: str, after: int = 0, seconds: float = 60
    ) -> list[dict[str, Any]]:
        """The events after `after`, up to the first of the type `last`."""
        seen = []
        for event in self.stream(session, after, seconds):
            seen.append(event)
            if event["type"] == last:
                return seen
        raise AssertionError(f"no {last} among {[e['type'] for e in seen]}\n{self.log()[-3000:]}")

    def turn(
        self, session: dict[str, Any], text: str | None = None, seconds: float = 60
    ) -> list[dict[str, Any]]:
        """Send a message, if one is given, and wait for its turn to be over."""
        after = session["lastSeq"] if text is None else self.send(session, text)["lastSeq"]
        return self.events(session, "turn_complete", after, seconds)

    def preview(
        self, session: dict[str, Any], path: str = "/", port: int = 3000, **headers: str
    ) -> httpx2.Response:
        """A request to the session's preview, by its public name."""
        host = session["previewUrl"].removeprefix("http://").replace("-p3000.", f"-p{port}.")
        return httpx2.get(f"{self.url}{path}", headers={"Host": host, **headers}, timeout=10)
