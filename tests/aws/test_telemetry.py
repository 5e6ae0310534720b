"""Logs and traces of the functions."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ParamValidationError

from opensessions.access import tokens
from opensessions.aws.telemetry import line
from opensessions.aws.tracing import XRay
from opensessions.events import HistoryMessage
from tests.aws.account import PROMPT

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={sampled}"


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{listening.getsockname()[1]}")
        yield listening


def test_what_was_traced_is_told(daemon: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE.format(sampled=1))
    tracing = XRay()
    with pytest.raises(KeyError), tracing.in_subsegment(name="## handler") as outer:
        with tracing.in_subsegment(name="inner"):
            tracing.put_annotation("Service", "api")
        outer.put_annotation("ColdStart", True)
        raise KeyError("what a caller sent")
    inner, told = [json.loads(daemon.recv(65536).split(b"\n")[1]) for _ in range(2)]
    assert (inner["name"], inner["parent_id"], inner["annotations"]) == (
        "inner",
        told["id"],
        {"Service": "api"},
    )
    assert (told["name"], told["parent_id"]) == ("## handler", "53995c3f42cd8ad8")
    assert told["trace_id"] == "1-5759e988-bd862e3fe1be46a994272793" and told["type"] == "subsegment"
    assert told["start_time"] <= told["end_time"] and told["annotations"] == {"ColdStart": True}
    assert told["fault"] and told["cause"]["exceptions"][0]["type"] == "KeyError"
    assert "caller" not in json.dumps(told)


@pytest.mark.parametrize("header", [TRACE.format(sampled=0), "", "nonsense"])
def test_what_is_not_traced_is_not_told(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    with XRay().in_subsegment(name="## handler"):
        pass
    daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        daemon.recv(1)


@pytest.mark.parametrize("address", ["", "127.0.0.1:1", "nowhere", "no-such-host.invalid:2000"])
def test_nobody_needs_to_listen(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE.format(sampled=1))
    monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", address)
    with XRay().in_subsegment(name="## handler") as subsegment:
        assert subsegment.document["name"] == "## handler"


SESSION = f"session_{'5' * 32}"


def test_a_line_holds_no_secret() -> None:
    worker = tokens.worker_token(f"sb-{'a' * 32}")
    own = (tokens.session_token(SESSION), tokens.preview_token(SESSION))
    secrets = (worker, tokens.boot_ticket(worker), tokens.api_key(), "s3cret-of-a-query", *own)
    text = f"{secrets[0]} '{secrets[1]}' ({secrets[2]}) {own} /?os_token={own[1]} "
    text += f"/v1?token={secrets[3]}&api_key={secrets[3]}&after=1"
    logged = line({"message": text, "exception": text})
    assert not [secret for secret in secrets if secret in logged]
    assert json.loads(logged)["message"].endswith("/v1?token=[redacted]&api_key=[redacted]&after=1")


def test_a_value_that_was_refused_is_not_quoted() -> None:
    ecs: Any = boto3.client("ecs", region_name="us-east-1")
    refusals: list[Callable[[], object]] = [
        lambda: HistoryMessage.model_validate({"role": 7, "content": [PROMPT]}),
        lambda: HistoryMessage.model_validate_json(json.dumps({"content": PROMPT})[:-2]),
        lambda: ecs.stop_task(cluster=[PROMPT], task={"a": PROMPT}),
    ]
    for refused in refusals:
        with pytest.raises((ValueError, ParamValidationError)) as refusal:
            refused()
        assert "Canary" in str(refusal.value)
        logged = json.loads(line({"exception": str(refusal.value)}))["exception"]
        assert "Canary" not in logged and "[redacted]" in logged
