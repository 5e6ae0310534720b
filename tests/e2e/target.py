"""The product as its callers see it, wherever it runs: an address, a key, and previews by name."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx2

from opensessions.local.announcement import EXAMPLE
from tests.e2e.secrecy import leaked

T = TypeVar("T")
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


class Target(ABC):
    """`url` is where the API is, `front` where previews are asked for by their names; `http` shows `key`.
    `told` are texts for the agent and keys, none of which may be logged.
    """

    url: str
    front: str
    key: str
    http: httpx2.Client
    told: set[str]

    @abstractmethod
    def preview_url(self, sandbox: str, port: int = 3000) -> str:
        """What the API must give as the public address of a sandbox's port."""

    @abstractmethod
    def log(self) -> str:
        """All that the service wrote to its log."""

    def key_of(self, account: str) -> str:
        """A new key of an account."""
        return self.new_key("default", account=account)

    def keep_secrets(self) -> None:
        """Fails when anything is in the log that must not be. Asked at the end of each server's life."""
        found = leaked(self.log().replace(json.dumps(EXAMPLE), ""), self.told)
        assert not found, f"It was logged: {found[:5]}"

    def new_key(self, name: str, scopes: str = "admin", account: str | None = None) -> str:
        """What the operator's command for a new key prints; `account` None is that of `key`."""
        raise NotImplementedError

    def good_keys(self, name: str) -> list[str]:
        """Ids of the good keys of this name, of the account of `key`, oldest first."""
        raise NotImplementedError

    def revoke_key(self, key_id: str) -> None:
        raise NotImplementedError

    def create(self, prompt: str = "", **more: Any) -> dict[str, Any]:
        body = {**DOCUMENTED, **({"prompt": prompt, "agent_config": {}} if prompt else {}), **more}
        self.told |= {body["prompt"], body["agent_config"].get("system_prompt") or ""}
        answer = self.http.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def get(self, session: dict[str, Any]) -> dict[str, Any]:
        return self.http.get(f"/v1/sessions/{session['id']}").json()  # type: ignore[no-any-return]

    def send(self, session: dict[str, Any], text: str) -> dict[str, Any]:
        self.told.add(text)
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
        """The session's events as they come, until the stream closes or so many seconds are over."""
        path = f"/v1/sessions/{session['id']}/events"
        deadline = time.monotonic() + seconds
        with self.http.stream("GET", path, params={"after": str(after), **query}, timeout=seconds) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])
                elif time.monotonic() > deadline:  # a keep-alive comes every 15 s
                    return

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
        host = session["previewUrl"].partition("://")[2].replace("-p3000.", f"-p{port}.")
        return httpx2.get(f"{self.front}{path}", headers={"Host": host, **headers}, timeout=10)
