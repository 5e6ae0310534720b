"""What a program in a sandbox asks of the model's proxy, and what lies it tells.

The numbers are the threat model's: a probe passes when it is refused and the host is unchanged.
"""

import json
from typing import Any

from tests.e2e.probes.hostile import MODEL, MODEL_KEY, Answer, Inside, Model
from tests.e2e.server import KEY

GATEWAY = "/run/gateway.sock"


def to_model(inside: Inside, *requests: tuple[str, Any], headers: str = "", token: str = "") -> list[Answer]:
    """What the model's relay answers to these (request line's method and target, body) pairs."""
    own = inside.environment()
    head = f"x-api-key: {token or own['ANTHROPIC_API_KEY']}\r\nHost: x\r\nConnection: close\r\n{headers}"
    texts = []
    for line, value in requests:
        body = json.dumps(value)
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        texts.append(f"{line} HTTP/1.1\r\n{head}{kind}\r\n\r\n{body}")
    return inside.ask(own["ANTHROPIC_BASE_URL"].removeprefix("http://"), *texts)


def call(**more: Any) -> dict[str, Any]:
    question = {"role": "user", "content": "say 3 words"}
    return {"model": MODEL, "max_tokens": 100, "messages": [question], **more}


def test_i24_the_rest_of_the_models_api_is_not_there(inside: Inside, model: Model) -> None:
    paths = ["/v1/files", "/v1/messages/batches", "/v1/skills", "/v1/organizations", "//v1/messages", "/v1"]
    paths += ["/v1/messages/../files", "/v1/messages/", "/v1/messages;x", "/v1/%6dessages", "/V1/messages"]
    before = len(model.calls)
    requests = [(f"{method} {path}", call()) for path in paths for method in ("GET", "POST")]
    answers = to_model(inside, *requests)
    assert {answer.status for answer in answers} <= {404, 405}, answers
    assert "/v1/files" not in [path for path, _, _ in model.calls[before:]]
    assert len(model.calls) == before


def test_i25_nothing_runs_on_the_providers_side(inside: Inside, model: Model) -> None:
    web = {"type": "web_search_20250305", "name": "web_search"}
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch"}
    code = {"type": "code_execution_20250825", "name": "code_execution"}
    bodies = [call(tools=[tool]) for tool in (web, fetch, code)]
    bodies += [call(mcp_servers=[{"type": "url", "url": "http://x", "name": "x"}]), call(container="c")]
    for source in ({"type": "url", "url": "http://x/a.png"}, {"type": "file", "file_id": "file_1"}):
        picture = {"role": "user", "content": [{"type": "image", "source": source}]}
        bodies.append(call(messages=[picture]))
    before = len(model.calls)
    answers = to_model(inside, *(("POST /v1/messages", body) for body in bodies))
    assert [answer.status for answer in answers] == [400] * len(bodies), answers
    assert len(model.calls) == before


def test_i26_what_goes_to_the_model_is_built_anew(inside: Inside, model: Model) -> None:
    evil = "anthropic-beta: files-api-2025-04-14,claude-code-20250219\r\nanthropic-workspace-id: w\r\n"
    evil += "Cookie: a=b\r\nX-Forwarded-Host: evil.test\r\n"
    [good] = to_model(inside, ("POST /v1/messages?beta=true", call()), headers=evil)
    assert good.status == 200 and MODEL_KEY not in good.text
    _, headers, _ = model.calls[-1]
    assert headers["anthropic-beta"] == "claude-code-20250219" and headers["x-api-key"] == MODEL_KEY
    assert not headers.keys() & {"anthropic-workspace-id", "cookie", "x-forwarded-host", "authorization"}


def test_i26_bounds_and_broken_headers(inside: Inside, model: Model) -> None:
    before = len(model.calls)
    [many] = to_model(inside, ("POST /v1/messages", call(max_tokens=10**9)))
    broken = ["X-A: b\0c\r\n", "X-A: b\r\n folded\r\n", "X A: b\r\n", "Content-Length: 3\r\n"]
    answers = [to_model(inside, ("POST /v1/messages", call()), headers=line)[0] for line in broken]
    assert [answer.status for answer in (many, *answers)] == [400] * 5, answers
    assert len(model.calls) == before


def test_i26_a_foreign_model_is_refused(inside: Inside, model: Model) -> None:
    before = len(model.calls)
    calls = [call(model="claude-opus-4-6"), call(model=f"{MODEL}-20251001"), call(model=[MODEL])]
    calls.append(call(fallbacks=[{"model": "claude-opus-4-6"}]))
    answers = to_model(inside, *(("POST /v1/messages", each) for each in calls))
    assert [answer.status for answer in answers] == [400] * len(calls), answers
    assert MODEL in answers[0].text and "agent_config.model" in answers[0].text
    assert len(model.calls) == before


def test_i26_only_the_model_token_opens_the_model(inside: Inside, neighbour: Inside) -> None:
    egress = inside.environment()["HTTPS_PROXY"].split(":")[2].split("@")[0]
    for token in (egress, MODEL_KEY, KEY, "osw_" + "0" * 32 + "_" + "0" * 40):
        [answer] = to_model(inside, ("POST /v1/messages", call()), token=token)
        assert answer.status == 401


def test_i31_events_cannot_be_forged_without_the_workers_token(inside: Inside, neighbour: Inside) -> None:
    own = inside.environment()
    egress = own["HTTPS_PROXY"].split(":")[2].split("@")[0]
    theirs = neighbour.environment()["ANTHROPIC_API_KEY"]
    tokens = [own["ANTHROPIC_API_KEY"], egress, theirs, KEY, own["ANTHROPIC_API_KEY"][:-64] + "0" * 40, ""]
    before = [inside.server.get(each.session) for each in (inside, neighbour)]
    texts = []
    for kind in ("session_ended", "result", "user_message", "turn_complete"):
        body = json.dumps({"first_seq": 1000, "events": [{"type": kind}]})
        for path in ("/sandbox/v1/events", "/callback/v1/events", "/callback/v1/notices"):
            texts += [_posted(path, token, body) for token in tokens]
    inbox = "GET /sandbox/v1/inbox HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer"
    texts += [f"{inbox} {token}\r\n\r\n" for token in tokens]
    texts += [_posted(f"/v1/sessions{path}", KEY, "{}") for path in ("", f"/{before[0]['id']}/messages")]
    statuses = {answer.status for answer in inside.ask(GATEWAY, *texts)}
    assert statuses <= {401, 404}, statuses
    after = [inside.server.get(each.session) for each in (inside, neighbour)]
    assert [each["lastSeq"] for each in after] == [each["lastSeq"] for each in before]
    assert [each["status"] for each in after] == [each["status"] for each in before]


def _posted(path: str, token: str, body: str) -> str:
    sign = f"Authorization: Bearer {token}\r\nX-API-Key: {token}"
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{sign}\r\n{kind}\r\nConnection: close\r\n\r\n{body}"
