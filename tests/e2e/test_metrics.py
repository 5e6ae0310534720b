"""`GET /metrics` of one machine's server."""

import re

import httpx2

from tests.e2e.server import Server, until


def numbers(server: Server) -> dict[str, float]:
    answer = server.http.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(
        "text/plain; version=0.0.4"
    )
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r'opensessions_[a-z_]+(\{[a-z]+="[a-z0-9_.+In]+"\})? [0-9.e+-]+', line), line
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_what_happened_is_counted(server: Server) -> None:
    before = numbers(server)
    session = server.create("say 3 words")
    server.turn(session)
    with server.http.stream("GET", f"/v1/sessions/{session['id']}/events?after=0") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        after = numbers(server)
        assert after['opensessions_open_streams{kind="events"}'] >= 1
        assert after['opensessions_open_streams{kind="inbox"}'] >= 1
        lines.close()
    for name in (
        "opensessions_model_calls_total",
        'opensessions_model_tokens_total{class="output"}',
        "opensessions_event_append_seconds_count",
        'opensessions_event_append_seconds_bucket{le="+Inf"}',
        "opensessions_event_append_seconds_sum",
    ):
        assert after[name] > before[name], name
    assert after['opensessions_sandboxes{state="running"}'] >= 1
    assert after['opensessions_warm_sandboxes{state="ready"}'] == 0
    assert after['opensessions_webhook_deliveries_total{outcome="failed"}'] >= 0
    assert session["id"] not in str(after)
    ended = before.get('opensessions_sessions{status="ended"}', 0)
    server.delete(session)
    until(lambda: numbers(server)['opensessions_sessions{status="ended"}'] > ended)


def test_it_takes_the_key_and_a_name_of_this_machine(server: Server) -> None:
    assert httpx2.get(f"{server.url}/metrics").status_code == 401
    token = server.http.post(
        "/v1/sessions", json={"prompt": "say 1 word", "user_id": "u"}, params={"token": "read"}
    )
    shown = {"X-API-Key": token.json()["token"]["token"]}
    assert httpx2.get(f"{server.url}/metrics", headers=shown).status_code == 403
    assert server.http.get("/metrics", headers={"Host": "rebound.example.com"}).status_code == 421
    bearer = {"Authorization": f"Bearer {server.key}"}  # as Prometheus sends what it is told
    assert httpx2.get(f"{server.url}/metrics", headers=bearer).status_code == 200
    server.delete(token.json())
