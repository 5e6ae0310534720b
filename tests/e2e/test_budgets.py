"""What a session may spend: it stops there, is told in time, and goes on when it may spend more."""

import secrets
import threading
from datetime import datetime
from typing import Any

from tests.e2e.target import Target, until

DEAR, CHEAP = "claude-opus-4-6", "claude-sonnet-4-5"
"""Have known prices, by which the demo model that plays them is billed: some 9 and some 5 cents a call."""
BUDGET = 0.5


def told(server: Target, session: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    """All events of these types."""
    path, after, found = f"/v1/sessions/{session['id']}/events/page", 0, list[dict[str, Any]]()
    while page := server.http.get(path, params={"after": str(after), "limit": "500"}).json()["data"]:
        found += [event for event in page if event["type"] in kinds]
        after = page[-1]["seq"]
    return found


def asked(server: Target, session: dict[str, Any], text: str) -> bool:
    """Send a message and wait for its turn to be over. False when it is not taken any more."""
    body = {"message": text, "user_id": session["userId"]}
    answer = server.http.post(f"/v1/sessions/{session['id']}/messages", json=body)
    if answer.status_code == 402:
        assert answer.json()["error"]["type"] == "budget_exceeded"
        return False
    assert answer.status_code == 200, answer.text
    server.events(session, "turn_complete", answer.json()["lastSeq"])
    return True


def spend(server: Target, session: dict[str, Any]) -> None:
    """Let it work until it may not."""
    for _ in range(40):
        if not asked(server, session, "say 3 words"):
            return
    raise AssertionError(f"it spends without end: {server.get(session)['usage']}")


def cost(turn: dict[str, Any]) -> float:
    return float(turn["usage"]["cost_usd"])


def test_a_session_stops_at_its_budget_and_goes_on_when_it_is_raised(server: Target) -> None:
    limits = {"cost_usd": BUDGET}
    session = server.create("say 3 words", agent_config={"model": DEAR}, limits=limits)
    server.turn(session)
    spend(server, session)

    turns = told(server, session, "turn_complete")
    dearest, spent = max(map(cost, turns)), server.get(session)["usage"]["costUsd"]
    assert dearest < BUDGET / 3 and BUDGET <= spent < BUDGET + dearest
    assert abs(spent - sum(map(cost, turns))) < 1e-9
    [warning], [exceeded] = told(server, session, "budget_warning"), told(server, session, "budget_exceeded")
    assert 0.8 * BUDGET <= warning["used"] <= 0.8 * BUDGET + dearest and warning["allowed"] == BUDGET
    assert warning["seq"] < exceeded["seq"] and "$0.50" in exceeded["message"]
    until(lambda: server.get(session)["sandboxStatus"] == "hibernated", 60)
    [asleep] = told(server, session, "hibernated")
    assert (at(asleep) - at(exceeded)).total_seconds() < 60

    path = f"/v1/sessions/{session['id']}"
    raised = server.http.patch(path, json={"limits": {"cost_usd": 2 * BUDGET}, "user_id": "user_42"})
    assert raised.status_code == 200 and raised.json()["limits"]["costUsd"] == 2 * BUDGET, raised.text
    assert asked(server, session, "say 4 words")
    assert told(server, session, "turn_complete")[-1]["reason"] == "completed"
    assert len(told(server, session, "budget_exceeded")) == 1
    server.delete(session)


def at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["createdAt"].replace("Z", "+00:00"))


def test_five_sessions_of_one_user_share_a_wallet(server: Target) -> None:
    user = f"user_{secrets.token_hex(8)}"
    path = f"/v1/users/{user}/limits"
    answer = server.http.put(path, json={"day": {"cost_usd": BUDGET}})
    assert answer.status_code == 200, answer.text
    more = {"agent_config": {"model": CHEAP}, "user_id": user}
    sessions = [server.create("say 3 words", **more) for _ in range(5)]
    failures: list[BaseException] = []

    def work(session: dict[str, Any]) -> None:
        try:
            server.turn(session, seconds=240)
            spend(server, session)
        except BaseException as failure:
            failures.append(failure)

    racing = [threading.Thread(target=work, args=(session,)) for session in sessions]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(180)
    assert not failures, failures
    turns = [turn for session in sessions for turn in told(server, session, "turn_complete")]
    used = server.http.get("/v1/usage", params={"user_id": user}).json()["total"]
    dearest = max(map(cost, turns))
    assert BUDGET <= used["cost_usd"] < BUDGET + dearest
    assert abs(used["cost_usd"] - sum(map(cost, turns))) < 1e-9
    assert any(told(server, session, "budget_exceeded") for session in sessions)
    until(lambda: all(server.get(s)["sandboxStatus"] == "hibernated" for s in sessions), 60)
    refused = server.http.post("/v1/sessions", json={"prompt": "say 3 words", **more})
    assert refused.status_code == 402 and refused.json()["error"]["type"] == "budget_exceeded", refused.text
    for session in sessions:
        server.delete(session)
