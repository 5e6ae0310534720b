from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from opensessions.events import (
    Assistant,
    Configured,
    PreviewReady,
    Restored,
    SandboxReady,
    ToolUseSummary,
    TurnStarted,
)
from opensessions.http.api import create_app
from opensessions.http.stored_events import payloads
from tests.fakes import World


@pytest.fixture
def document(here: World) -> Any:
    return create_app(here.service).openapi()


def check(document: Any, schema: Any, value: Any) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def media(document: Any) -> Iterator[Any]:
    for _, operation in operations(document):
        for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
            yield from holder.get("content", {}).values()


def test_it_is_a_valid_document(document: Any) -> None:
    validate(document)


def test_it_lists_every_call(document: Any) -> None:
    one = "/v1/sessions/{session_id}"
    assert {name for name, _ in operations(document)} == {
        "POST /v1/sessions",
        "GET /v1/sessions",
        f"GET {one}",
        f"DELETE {one}",
        f"PATCH {one}",
        "PUT /v1/users/{user_id}/limits",
        "GET /v1/users/{user_id}/limits",
        f"POST {one}/messages",
        f"POST {one}/interrupt",
        f"GET {one}/events",
        f"GET {one}/events/page",
        f"GET {one}/files",
        f"GET {one}/files/{{path}}",
        f"PUT {one}/files/{{path}}",
        f"GET {one}/archive",
        f"POST {one}/hibernate",
        f"POST {one}/restore",
        f"POST {one}/tokens",
        f"DELETE {one}/tokens",
        f"GET {one}/versions",
        f"GET {one}/versions/{{number}}/diff",
        "GET /v1/templates",
        "POST /v1/templates",
        "GET /v1/templates/{template_id}",
        "DELETE /v1/templates/{template_id}",
        "GET /v1/webhooks",
        "POST /v1/webhooks",
        "GET /v1/webhooks/{webhook_id}",
        "DELETE /v1/webhooks/{webhook_id}",
        "GET /v1/webhooks/{webhook_id}/deliveries",
        "POST /v1/webhooks/{webhook_id}/redeliver",
        "GET /v1/usage",
        "GET /v1/audit",
        "GET /v1/model-key",
        "PUT /v1/model-key",
        "DELETE /v1/model-key",
        "GET /healthz",
    }


def test_every_example_is_valid(document: Any) -> None:
    bodies = [each for each in media(document) if "example" in each]
    for each in bodies:
        check(document, each["schema"], each["example"])
    fields = [
        (field, example)
        for schema in document["components"]["schemas"].values()
        for field in schema.get("properties", {}).values()
        for example in field.get("examples", [])
    ]
    for field, example in fields:
        check(document, field, example)
    assert len(bodies) > 8 and len(fields) > 20


def test_examples_of_requests_are_accepted(document: Any, client: TestClient) -> None:
    post = document["paths"]["/v1/sessions"]["post"]
    example = post["requestBody"]["content"]["application/json"]["example"]
    response = client.post("/v1/sessions", json=example)
    assert response.status_code == 201
    assert list(response.json()) == list(post["responses"]["201"]["content"]["application/json"]["example"])


def test_every_call_says_how_it_fails_and_that_it_needs_a_key(document: Any) -> None:
    for name, operation in operations(document):
        failures = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        keyless = name == "GET /healthz"
        assert {"500"} | (set() if keyless else {"401"}) <= set(failures), name
        assert operation.get("security", document["security"]) == ([] if keyless else document["security"])
        for answer in failures.values():
            assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
    assert document["security"] == [{"ApiKey": []}, {"Bearer": []}]


def test_the_stream_is_described_though_it_is_served_elsewhere(document: Any) -> None:
    stream = document["paths"]["/v1/sessions/{session_id}/events"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
    assert "204" in stream["responses"]
    names = {parameter["name"] for parameter in stream["parameters"]}
    assert names == {"session_id", "after", "user_id", "deltas", "api_key", "token", "Last-Event-ID"}


def test_events_are_told_apart_by_their_type(document: Any) -> None:
    event = document["components"]["schemas"]["Event"]
    assert event["discriminator"]["propertyName"] == "type"
    types = {payload.model_fields["type"].default for payload in payloads()}
    assert set(event["discriminator"]["mapping"]) == types
    assert len(event["oneOf"]) == len(types)


def test_stored_events_are_as_described(document: Any, here: World, client: TestClient) -> None:
    session = here.create()
    here.say(
        session,
        Configured(tools=["Bash"]),
        Assistant(message={"content": [{"type": "text", "text": "Hi"}]}),
        ToolUseSummary(tool="Bash", summary="Ran npm install"),
        PreviewReady(port=3000),
    )
    here.turn(session, framework="vite", artifacts=[{"path": "index.html"}])
    here.say(session, SandboxReady(), TurnStarted(message_id="m"))
    here.keep_turn(session)
    here.sleep(session)
    asked = here.service.restore("acme", session.id, 1).head.asked_seq
    here.say(session, Restored(version=1, inbox_seq=asked))
    here.supervisor.sandbox_stopped(session.sandbox_id, 2, "It was killed.")
    client.delete(f"/v1/sessions/{session.id}")
    page = client.get(f"/v1/sessions/{session.id}/events/page").json()
    newer = {"version_saved", "hibernated", "woken", "restored", "sandbox_lost"}
    assert {event["type"] for event in page["data"]} > {"session_started", "result", "session_ended"} | newer
    for event in page["data"]:
        check(document, {"$ref": "#/components/schemas/Event"}, event)


def test_an_event_without_its_own_fields_is_not_valid(document: Any) -> None:
    validator = Draft202012Validator(
        {"$ref": "#/components/schemas/Event", "components": document["components"]}
    )
    whole = {
        "type": "ready",
        "id": "evt_1",
        "seq": 1,
        "level": "info",
        "createdAt": "2026-11-24T12:00:00.000Z",
    }
    assert validator.is_valid(whole)
    for name in whole:
        assert not validator.is_valid({key: value for key, value in whole.items() if key != name})


def test_o34_the_docs_page_loads_nothing(keyless: TestClient) -> None:
    response = keyless.get("/docs")
    assert response.status_code == 200 and response.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "<script" not in response.text and "<link" not in response.text and "//cdn" not in response.text
    assert "Build a todo app with Next.js and Tailwind" in response.text
    assert "/v1/sessions/{session_id}/interrupt" in response.text


def test_the_document_needs_no_key(keyless: TestClient) -> None:
    document = keyless.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "http://testserver"}]
    validate(document)
