"""How often a refused host is told of."""

from __future__ import annotations

from gateway.refusals import HOSTS_PER_WINDOW, SESSIONS, WINDOW, Refusals


def test_once_a_host_and_minute_and_bounded_a_session() -> None:
    told: list[tuple[str, str, str]] = []
    now = [0.0]
    refusals = Refusals(lambda *refusal: told.append(refusal), lambda: now[0])
    for _ in range(3):
        refusals.tell("a", "x.test", "why")
    refusals.tell("b", "x.test", "why")
    assert told == [("a", "x.test", "why"), ("b", "x.test", "why")]
    for number in range(100):
        refusals.tell("a", f"{number}.test", "why")
    assert len([session for session, _, _ in told if session == "a"]) == HOSTS_PER_WINDOW
    now[0] = WINDOW + 1
    refusals.tell("a", "x.test", "why")
    assert told[-1] == ("a", "x.test", "why") and len(told) == HOSTS_PER_WINDOW + 2


def test_sessions_are_forgotten() -> None:
    refusals = Refusals(lambda *refusal: None)
    for number in range(SESSIONS + 10):
        refusals.tell(f"session_{number}", "x.test", "why")
    assert len(refusals._told) == SESSIONS
