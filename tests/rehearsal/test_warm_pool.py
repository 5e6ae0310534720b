"""The warm pool, deployed: a session takes a spare through function and gateway, and another is launched."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from opensessions.aws.pool import DynamoSpares
from tests.e2e.target import until
from tests.rehearsal.emulator.knobs import SLOW_SECONDS
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(300)]

LAUNCHING = ("Api", "TaskState", "Sweep")


@contextmanager
def pool_of(server: Rehearsal, size: int) -> Iterator[DynamoSpares]:
    """For as long as it lasts, as if the stack had been deployed with such a `warm_pool`; then as it was."""
    spares = DynamoSpares(server.outputs["TableName"], server.emulator.client("dynamodb"))
    _tell(server, size)
    try:
        server.sweep()
        yield spares
    finally:
        _tell(server, 0)
        server.sweep()
        assert spares.all() == []


def _tell(server: Rehearsal, size: int) -> None:
    functions = server.emulator.client("lambda")
    names = {name: _named(functions, name) for name in LAUNCHING}
    for name in names.values():
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        told = {"Variables": {**variables, "WARM_POOL": str(size)}}
        functions.update_function_configuration(FunctionName=name, Environment=told)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)


def _named(functions: Any, part: str) -> str:
    pages = functions.get_paginator("list_functions").paginate()
    [name] = [f["FunctionName"] for page in pages for f in page["Functions"] if _is(f["Handler"], part)]
    return str(name)


def _is(handler: str, part: str) -> bool:
    return handler.split(".")[1].replace("_", "") == part.lower()


def ready(spares: DynamoSpares) -> str | None:
    return next((spare.sandbox_id for spare in spares.all() if spare.state == "ready"), None)


def first_word(server: Rehearsal, session: dict[str, Any], posted: float) -> float:
    """Seconds from the POST to the agent's first words on the client's stream."""
    server.events(session, "assistant", seconds=200)
    return time.monotonic() - posted


def test_sessions_take_spares_and_others_take_their_place(
    server: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    server.emulator.tell("/knobs", slow=1)
    posted = time.monotonic()
    cold = server.create("say 3 words")
    with pool_of(server, 1) as spares:
        spare = None
        for _ in range(2):  # the first finds functions that take their own time to start
            spare, before = until(partial(_another, spares, spare), 60), spare
            asked = time.monotonic()
            session = server.create("say 3 words")
            assert session["sandboxId"] == spare != before
            warm = first_word(server, session, asked)
            told = server.events(session, "turn_complete")
            assert [each["type"] for each in told[:3]] == ["session_started", "user_message", "sandbox_ready"]
            assert told[-1]["reason"] == "completed"
            assert len(server.running(session)) == 2
            _end(server, session)
    waited = first_word(server, cold, posted)
    _end(server, cold)
    assert waited > SLOW_SECONDS > warm
    with capsys.disabled():
        print(
            f"\ncreate to first agent event, deployed: warm {warm:.1f} s, with a task that takes"
            f" {SLOW_SECONDS} s to start {waited:.1f} s"
        )


def _another(spares: DynamoSpares, before: str | None) -> str | None:
    found = ready(spares)
    return found if found != before else None


def _end(server: Rehearsal, session: dict[str, Any]) -> None:
    server.delete(session)
    until(lambda: not server.running(session))
