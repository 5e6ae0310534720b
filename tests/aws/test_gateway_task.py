"""The gateway's process as a task runs it: over DynamoDB, with the callback behind Lambda's Invoke."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from opensessions.access import tokens
from opensessions.events import TurnStarted
from opensessions.handshake import derived_token
from opensessions.models import Session
from tests.aws.cloud import Cloud, Task, cloud, free_port
from tests.aws.model_server import models
from tests.fakes import open_account
from tests.gateway.sandbox_parts import SANDBOX_REQUESTS


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture(scope="module")
def key(running: Cloud) -> str:
    return open_account(running.here.keyring)


@pytest.fixture(scope="module")
def task(running: Cloud) -> Iterator[Task]:
    with running.gateway() as made:
        yield made


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False, timeout=30) as made:
        yield made


@pytest.fixture
def session(running: Cloud) -> Iterator[Session]:
    made = running.here.create("Build it")
    yield made
    running.here.service.end("acme", made.id)


def boot(running: Cloud, task: Task, client: httpx2.Client, session: Session) -> dict[str, str]:
    """The header that proves the sandbox's worker, once it has booted."""
    ticket = tokens.boot_ticket(running.here.token(session))
    shown = {"Authorization": f"Bearer {ticket}"}
    answer = client.post(f"{task.inside}/sandbox/v1/boot", headers=shown)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def post(task: Task, client: httpx2.Client, worker: dict[str, str], first: int = 1) -> httpx2.Response:
    batch = {"first_seq": first, "events": [TurnStarted().model_dump(mode="json")]}
    return client.post(f"{task.inside}/sandbox/v1/events", headers=worker, json=batch)


def call_model(task: Task, token: str) -> httpx2.Response:
    asked = {
        "model": "m",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "hello"}],
    }
    key = {"X-API-Key": derived_token(token, "model")}
    return httpx2.post(f"{task.inside}/v1/messages", headers=key, json=asked, timeout=30, trust_env=False)


def await_refusal(task: Task) -> None:
    deadline = time.monotonic() + 10
    with pytest.raises(httpx2.ConnectError):
        while time.monotonic() < deadline:
            httpx2.get(f"{task.public}/healthz", trust_env=False)


def frames(answer: httpx2.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def test_a_sandbox_boots_reads_its_inbox_and_is_heard(
    running: Cloud, task: Task, key: str, client: httpx2.Client, session: Session
) -> None:
    worker = boot(running, task, client, session)
    with client.stream("GET", f"{task.inside}/sandbox/v1/inbox", headers=worker) as inbox:
        assert next(frames(inbox))["prompt"] == "Build it"
    assert post(task, client, worker).json() == {"acked": 1, "expected": 2}
    events = f"{task.public}/v1/sessions/{session.id}/events"
    with client.stream("GET", events, headers={"X-API-Key": key}) as stream:
        types = [frame["type"] for frame in islice(frames(stream), 3)]
    assert types == ["session_started", "user_message", "turn_started"]
    assert running.here.now(session).address == "127.0.0.1"
    assert all(signed.startswith("AWS4-HMAC-SHA256 Credential=test/") for signed in running.lambdas.signed)


def test_a_follow_up_that_a_function_wrote_is_found(
    running: Cloud, task: Task, client: httpx2.Client, session: Session
) -> None:
    worker = boot(running, task, client, session)
    with client.stream("GET", f"{task.inside}/sandbox/v1/inbox", headers=worker) as inbox:
        items = frames(inbox)
        next(items)
        running.here.service.send("acme", session.id, "u1", "and in blue")
        assert next(items)["text"] == "and in blue"


def test_a_callback_that_is_throttled_is_asked_again_by_the_sandbox(
    running: Cloud, task: Task, client: httpx2.Client, session: Session
) -> None:
    worker = boot(running, task, client, session)
    running.lambdas.fail = 1
    refused = post(task, client, worker)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert post(task, client, worker).status_code == 200
    assert running.here.types(session).count("turn_started") == 1


def test_what_one_gateway_stored_a_watcher_on_the_other_sees_at_once(
    running: Cloud, key: str, client: httpx2.Client, session: Session
) -> None:
    ports = [(free_port(), free_port(), free_port()) for _ in range(2)]
    peers = ",".join(f"127.0.0.1:{inside}" for _, inside, _ in ports)
    with running.gateway(ports[0], PEERS=peers) as one, running.gateway(ports[1], PEERS=peers) as other:
        worker = boot(running, one, client, session)
        events = f"{other.public}/v1/sessions/{session.id}/events?after=2"
        with client.stream("GET", events, headers={"X-API-Key": key}) as stream:
            assert post(one, client, worker).status_code == 200
            assert next(frames(stream))["type"] == "turn_started"
        forged = client.post(
            f"{other.inside}/peer/v1/wake",
            headers={"Signature": "0" * 64},
            json={"from": "x", "at": 0, "sessions": [session.id]},
        )
        assert forged.status_code == 404


def test_the_two_sides_are_apart(
    running: Cloud, task: Task, key: str, client: httpx2.Client, session: Session
) -> None:
    token = running.here.token(session)
    for method, path in (*SANDBOX_REQUESTS, ("POST", "/peer/v1/wake")):
        for headers in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": key}):
            answer = client.request(method, f"{task.public}{path}", headers=headers, json={})
            assert answer.status_code == 404, (method, path)
    for path in ("/healthz", "/v1/sessions", f"/v1/sessions/{session.id}/events"):
        assert client.get(f"{task.inside}{path}", headers={"X-API-Key": key}).status_code == 404


def test_a_preview_of_a_sandbox_that_has_not_booted_says_so(
    task: Task, client: httpx2.Client, session: Session
) -> None:
    host = {"Host": f"{session.sandbox_id}-p3000.preview.test"}
    page = client.get(task.public, headers=host | {"Sec-Fetch-Dest": "document"})
    assert page.status_code == 503
    assert "text/html" in page.headers["content-type"]
    unknown = client.get(task.public, headers={"Host": f"sb-{'0' * 32}-p3000.preview.test"})
    assert unknown.status_code == 404


def test_a_load_balancer_may_mix_previews_and_streams_on_a_connection(task: Task, session: Session) -> None:
    preview = f"{session.sandbox_id}-p3000.preview.test"
    with socket.create_connection(("127.0.0.1", urlsplit(task.public).port), timeout=10) as connection:
        for host, path, status in (
            (preview, b"/", b"HTTP/1.1 502"),
            (preview, b"/x", b"HTTP/1.1 502"),
            ("gateway.preview.test", b"/healthz", b"HTTP/1.1 200"),
        ):
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path, host.encode()))
            answer = connection.recv(65536)
            assert answer.startswith(status)
        while more := connection.recv(65536):  # so the next request cannot be a preview's
            answer += more
        assert b"connection: close" in answer and answer.endswith(b'{"status":"ok"}')


def test_the_end_is_kind_and_nothing_secret_was_logged(
    running: Cloud, key: str, client: httpx2.Client, session: Session
) -> None:
    with models() as model, running.gateway(MODEL_URL=model.url) as task, ThreadPoolExecutor() as threads:
        worker = boot(running, task, client, session)
        model.open.clear()
        call = threads.submit(call_model, task, worker["Authorization"].removeprefix("Bearer "))
        assert model.asked.wait(10)
        events = f"{task.public}/v1/sessions/{session.id}/events"
        with client.stream("GET", events, headers={"X-API-Key": key}) as stream:
            lines = stream.iter_lines()
            next(lines)
            task.process.send_signal(signal.SIGTERM)
            assert any(line.startswith("retry: ") for line in lines)
        await_refusal(task)
        assert task.process.poll() is None
        model.open.set()
        assert "heard: hello" in call.result(10).text
        assert task.process.wait(10) == 0
    said = "".join(task.said)
    for secret in (key, "sk-canary", "ab" * 32, worker["Authorization"].removeprefix("Bearer ")):
        assert secret not in said


def test_a_setting_that_is_missing_is_named(running: Cloud) -> None:
    with (
        pytest.raises(AssertionError, match="CALLBACK_FUNCTION is not set"),
        running.gateway(CALLBACK_FUNCTION=""),
    ):
        pass
