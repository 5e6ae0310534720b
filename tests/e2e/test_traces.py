"""Traces: from a POST to the end of its turn, as a collector gets them."""

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.e2e.server import Server, until

service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PROMPT = "say 5 words and not one more"


class Collector(ThreadingHTTPServer):
    """Keeps all spans, as (name, trace, parent, id, attributes, seconds)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[dict[str, Any]] = []
        self.bodies = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, trace: str) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for span in self.spans:
            if span["trace"] == trace:
                found.setdefault(span["name"], []).append(span)
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies += body
        request = service.ExportTraceServiceRequest.FromString(body)
        assert self.path == "/v1/traces"
        for resource in request.resource_spans:
            [name] = [
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            ]
            for scope in resource.scope_spans:
                self.server.spans += [_told(span) | {"service": name} for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


def _told(span: Any) -> dict[str, Any]:
    values = {each.key: each.value for each in span.attributes}
    told = {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}
    seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    return {
        "name": span.name, "trace": span.trace_id.hex(), "id": span.span_id.hex(), "seconds": seconds,
        "parent": span.parent_span_id.hex(), "attributes": told, "status": span.status,
    }  # fmt: skip


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collecting:
        thread = Thread(target=collecting.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield collecting
        collecting.shutdown()
        thread.join()


def traced(folder: Path, endpoint: str) -> Server:
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    return Server(folder, environment=told).start()


def test_one_trace_has_the_way_from_the_post_to_the_end_of_its_turn(
    tmp_path: Path, collector: Collector
) -> None:
    server = traced(tmp_path, collector.url)
    server.http.headers["traceparent"] = ABOVE
    session = server.create(PROMPT)
    del server.http.headers["traceparent"]
    server.turn(session)
    again = server.turn(session, "say 3 words and no other")
    assert server.stop() == 0, server.log()
    found = collector.of(ABOVE.split("-")[1])
    [post], [launch], [boot], [turn] = (found[n] for n in ("POST /v1/sessions", "launch", "boot", "turn"))
    assert post["parent"] == ABOVE.split("-")[2] and post["service"] == "opensessions"
    assert post["attributes"]["http.response.status_code"] == 201
    calls = [span for name, spans in found.items() if name.startswith("chat ") for span in spans]
    for span in (launch, boot, turn, *calls, *found["store events"]):
        assert span["parent"] == post["id"] and span["attributes"]["gen_ai.conversation.id"] == session["id"]
    assert post["attributes"]["gen_ai.conversation.id"] == session["id"]
    asked = calls[0]["attributes"]
    assert (
        calls[0]["name"] == f"chat {asked['gen_ai.request.model']}"
        and asked["gen_ai.operation.name"] == "chat"
    )
    assert asked["gen_ai.usage.input_tokens"] > 0 and asked["gen_ai.usage.output_tokens"] > 0
    assert turn["attributes"]["opensessions.reason"] == "completed"
    assert turn["seconds"] >= max(call["seconds"] for call in calls) > 0 and boot["seconds"] > 0
    others = {span["trace"] for span in collector.spans if span["name"] == "turn"} - {post["trace"]}
    assert again and len(others) == 1, "the second turn has a trace of its own"
    assert PROMPT.encode() not in collector.bodies and server.key.encode() not in collector.bodies


def test_nobody_waits_for_a_collector_that_is_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        server = traced(tmp_path, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        began = time.monotonic()
        assert server.http.get("/v1/sessions").status_code == 200
        assert time.monotonic() - began < 5
        server.process.kill()
        until(lambda: server.process.poll() is not None)
        server.http.close()
        server.keep_secrets()
