"""Model calls on a budget: leave before each, a settlement after it, whatever happens in between."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx2
import pytest
from starlette.responses import Response, StreamingResponse

import gateway.calls
from gateway.calls import Calls
from gateway.model_body import ModelCall
from gateway.model_failure import Refused
from tests.gateway.calls_parts import Book
from tests.gateway.model_parts import (
    ASK,
    OTHER_TOKEN,
    TOKEN,
    Answer,
    Sent,
    block,
    end,
    fixed,
    frames,
    model_place,
    start,
    streaming,
    text,
    until,
)
from tests.gateway.test_model_calls import CALL, Gate

CALLED = ModelCall("m", 100, b"x" * 299)
WORST = 200
"""Tokens that a call like CALLED may use: a third of its bytes, and its max_tokens."""


async def test_leave_is_asked_for_what_a_call_may_use_at_most() -> None:
    fallbacks = [{"model": "claude-b", "max_tokens": 900}, {"model": "claude-c"}]
    async with model_place() as place:
        assert (await place.ask({**ASK, "fallbacks": fallbacks})).status_code == 200
        [asked] = place.book.asked
        size = len(place.stub.requests[0].raw)
        assert asked == {
            "id": asked["id"], "model": "claude-test", "input_tokens": (size + 2) // 3, "max_tokens": 900,
            "fallbacks": ["claude-b", "claude-c"],
        }  # fmt: skip
        assert len(asked["id"]) == 32 and place.book.tokens == [TOKEN]
        await place.settled(1)
        assert not place.book.aside and (await place.ask()).status_code == 200
        assert "fallbacks" not in place.book.asked[1] and place.book.asked[1]["max_tokens"] == 64


async def test_more_fallbacks_than_there_can_be_are_400() -> None:
    async with model_place() as place:
        assert (await place.ask({**ASK, "fallbacks": [{"model": "x"}] * 4})).status_code == 400
        assert place.book.asked == []


async def test_without_leave_the_model_is_not_asked_and_the_agent_is_told_why() -> None:
    async with model_place(book=Book(budget=10)) as place:
        answer = await place.ask()
        assert (answer.status_code, answer.headers["x-should-retry"]) == (402, "false")
        error = {"type": "billing_error", "message": "The session's limits.tokens are used up."}
        assert answer.json() == {"type": "error", "error": error}
        await until(lambda: not place.proxy.busy)
        assert place.stub.requests == [] and place.book.settled == []


async def test_i27_fifty_calls_at_once_on_a_budget_for_one() -> None:
    async with model_place(book=Book(budget=150)) as place:
        tokens = [TOKEN, OTHER_TOKEN] * 25
        answers = await asyncio.gather(*(place.ask(headers={"x-api-key": token}) for token in tokens))
        await until(lambda: not place.proxy.busy)
        kinds = {answer.status_code for answer in answers}
        assert 200 in kinds and kinds <= {200, 402, 429} and place.book.spent
        assert place.book.used <= 150 and not place.book.aside


async def test_i27_hanging_up_after_the_first_byte_saves_nothing() -> None:
    gate, budget = Gate(), 150
    async with model_place(gate.answer, book=Book(budget=budget)) as place:
        for _ in range(20):
            async with place.client.stream("POST", "/v1/messages", **CALL) as answer:
                if answer.status_code == 200:
                    await anext(answer.aiter_bytes())
            await until(lambda: not place.proxy.busy)
        assert place.book.used <= budget and not place.book.aside
        assert place.book.estimates == gate.started < 20 and place.book.spent


@pytest.mark.parametrize("way", ["nobody", "500"])
async def test_a_call_that_cannot_be_recorded_is_not_made(way: str) -> None:
    async with model_place() as place:
        place.book.away, place.book.status = way == "nobody", 500 if way == "500" else None
        answer = await place.ask()
        assert (answer.status_code, answer.json()["error"]["type"]) == (529, "overloaded_error")
        assert (answer.headers["x-should-retry"], answer.headers["retry-after"]) == ("true", "2")
        assert place.stub.requests == []
        place.book.away, place.book.status = False, None
        # It may have been reserved after all: so it is given back.
        assert await place.settled(1) == [("session_a", "claude-test", {})]
        assert (await place.ask()).status_code == 200


HIDDEN = frames(start(), *block({"type": "thinking", "thinking": ""}, {"type": "signature_delta"})[:2])
REDACTED = frames(start(), *block({"type": "redacted_thinking", "data": "x"}, {})[:1])


@pytest.mark.parametrize("pieces", [HIDDEN, REDACTED, frames(start()), b": \n\n"])
async def test_of_a_stream_that_broke_off_unseen_nobody_knows_what_it_used(pieces: bytes) -> None:
    async with model_place(broken(pieces)) as place:
        with pytest.raises(httpx2.RemoteProtocolError):
            await place.ask()
        assert [usage for _, _, usage in await place.settled(1)] == [None]
        assert place.book.used == place.book.asked[0]["input_tokens"] + 64


async def test_of_a_stream_that_broke_off_the_output_is_estimated_by_what_came() -> None:
    tool = {"type": "input_json_delta", "partial_json": "x" * 30}
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    async with model_place(broken(frames(start(), *text("é" * 100), *block(call, tool)))) as place:
        with pytest.raises(httpx2.RemoteProtocolError):
            await place.ask()
        [(_, _, usage)] = await place.settled(1)
        assert usage is not None and usage["input_tokens"] == 5
        assert usage["output_tokens"] == 78  # (200 + 4 + 30) / 3
        assert place.book.estimates == 1


async def test_what_thought_unseen_is_exact_once_the_model_has_said_what_it_used() -> None:
    thought = block({"type": "thinking", "thinking": ""}, {"type": "signature_delta"})
    async with model_place(broken(frames(start(), *thought, *text("x"), end()[0]))) as place:
        with pytest.raises(httpx2.RemoteProtocolError):
            await place.ask()
        [(_, _, usage)] = await place.settled(1)
        assert usage is not None and usage["output_tokens"] == 7 and not place.book.estimates


def broken(pieces: bytes) -> Answer:
    async def body():  # type: ignore[no-untyped-def]
        yield pieces
        raise ConnectionResetError

    async def answer(sent: Sent) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    return answer


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 529])
async def test_what_the_model_server_refused_used_nothing(status: int) -> None:
    async with model_place(fixed({"error": {}}, status)) as place:
        assert (await place.ask()).status_code >= 400
        assert await place.settled(1) == [("session_a", "claude-test", {})]
        assert place.book.used == 0 and not place.book.aside


async def test_a_model_server_that_is_not_there_used_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with model_place(url=url) as place:
        assert (await place.ask()).status_code == 502
        assert await place.settled(1) == [("session_a", "claude-test", {})]


async def test_hanging_up_before_the_model_answers_leaves_the_reservation_as_used() -> None:
    gate = asyncio.Event()

    async def answer(sent: Sent) -> Response:
        await gate.wait()
        return Response()

    async with model_place(answer) as place:
        calling = asyncio.ensure_future(place.ask())
        await until(lambda: bool(place.stub.requests))
        calling.cancel()
        assert await place.settled(1) == [("session_a", "claude-test", None)]
        gate.set()


async def test_hanging_up_before_there_is_leave_gives_it_back() -> None:
    async with model_place() as place:
        place.book.open.clear()
        calling = asyncio.ensure_future(place.ask())
        await until(lambda: place.book.attempts == 1)
        calling.cancel()
        await until(lambda: not place.proxy._running)
        assert place.book.settled == [] and place.proxy.busy
        place.book.open.set()
        assert await place.settled(1) == [("session_a", "claude-test", {})]
        assert place.stub.requests == [] and not place.book.aside


async def test_settlements_are_told_again_until_they_are_heard_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway.calls, "SETTLING_SECONDS", 0.02)
    gate = Gate()
    async with model_place(gate.answer) as place:
        calls = [asyncio.ensure_future(place.ask()) for _ in range(3)]
        await until(lambda: gate.started == 3)
        place.book.away = True
        gate.open.set()
        await asyncio.gather(*calls)
        tried = place.book.attempts
        await until(lambda: place.book.attempts >= tried + 3)
        assert place.book.settled == [] and len(place.book.aside) == 3
        place.book.away = False
        assert len(await place.settled(3)) == 3 and not place.book.aside
        await until(lambda: not place.proxy.busy)


async def test_the_next_call_asks_for_leave_when_those_before_it_are_settled() -> None:
    book = Book(budget=WORST)
    async with book.client() as callback:
        calls = Calls(callback, (0.01,))
        for number in range(5):  # each would be refused beside the one before it
            async with calls.metered("token", "s", CALLED) as bill:
                bill.model = str(number)
        await calls.aclose()
        assert [model for _, model, _ in book.settled] == ["0", "1", "2", "3", "4"] and not calls._last


@pytest.mark.parametrize("streamed", [True, False])
async def test_whoever_has_the_end_of_an_answer_finds_it_counted(streamed: bool) -> None:
    whole = {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 2}}
    pieces = streaming(frames(start(), *text("hello")), frames(*end()))
    async with model_place(pieces if streamed else fixed(whole)) as place:
        place.book.heard.clear()
        asking = asyncio.ensure_future(place.ask())
        await until(lambda: place.book.attempts == 2)
        assert not streamed or place.deltas == [("session_a", "hello")]
        over = asyncio.ensure_future(place.proxy._metered.all_settled("session_a"))
        await asyncio.sleep(0.05)
        assert not asking.done() and not over.done()
        place.book.heard.set()
        assert (await asking).status_code == 200 and len(place.book.settled) == 1
        await over


async def test_the_end_of_an_answer_is_not_held_back_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.calls, "SETTLING_SECONDS", 0.02)
    async with model_place() as place:
        place.book.heard.clear()
        assert b"message_stop" in (await place.ask()).content
        assert place.book.settled == []
        place.book.heard.set()
        await place.settled(1)


async def test_one_that_cannot_be_settled_does_not_hold_up_the_others_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway.calls, "IN_ORDER_SECONDS", 0.02)
    monkeypatch.setattr(gateway.calls, "SETTLING_SECONDS", 0.02)
    book = Book(poison="0")
    async with book.client() as callback:
        calls = Calls(callback, (0.01,))
        for number in range(3):
            async with calls.metered("token", "s", CALLED) as bill:
                bill.model = str(number)
        await until(lambda: len(book.settled) == 2)
        book.poison = None
        await calls.aclose()
        assert sorted(model for _, model, _ in book.settled) == ["0", "1", "2"]


async def test_sessions_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    book, seen = Book(), asyncio.Event()
    async with book.client() as callback:
        calls = Calls(callback, (0.01,))
        async with calls.metered("token", "one", CALLED):
            book.status = 503
        book.status = None
        real = book._settle

        def settle(call_id: str, body: dict[str, Any]) -> None:
            real(call_id, body)
            seen.set()

        monkeypatch.setattr(book, "_settle", settle)
        async with asyncio.timeout(1):
            async with calls.metered("token", "two", CALLED):
                pass
            await seen.wait()
        await calls.aclose()


async def test_closing_waits_for_settlements_but_not_for_ever() -> None:
    book = Book()
    async with book.client() as callback:
        calls = Calls(callback, (0.01,))
        async with calls.metered("token", "s", CALLED):
            book.away = True
        closing = asyncio.ensure_future(calls.aclose())
        await until(lambda: book.attempts > 3)
        book.away = False
        await closing
        assert len(book.settled) == 1 and not calls.busy
        async with calls.metered("token", "s", CALLED):
            book.away = True
        await calls.aclose(within=0.05)
        assert len(book.settled) == 1 and not calls.busy


async def test_calls_that_closing_cuts_are_settled() -> None:
    gate = Gate()
    async with model_place(gate.answer) as place:
        running = asyncio.ensure_future(place.ask())
        await until(lambda: len(place.deltas) == 1)
        await asyncio.wait_for(place.proxy.aclose(deadline=0), 5)
        assert place.book.estimates == 1 and not place.book.aside
        with pytest.raises(httpx2.RemoteProtocolError):
            await running


@pytest.mark.parametrize(
    ("status", "told", "retry"),
    [(401, 401, "false"), (404, 400, "false"), (409, 400, "false"), (429, 429, "true")],
)
async def test_other_refusals_are_told_as_what_they_are(status: int, told: int, retry: str) -> None:
    async with model_place() as place:
        place.book.status = status
        answer = await place.ask()
        assert (answer.status_code, answer.headers["x-should-retry"]) == (told, retry)
        await until(lambda: not place.proxy.busy)
        assert place.book.attempts == 1 and place.stub.requests == []


async def test_a_refusal_without_words_has_some() -> None:
    book = Book(status=402)
    async with book.client() as callback:
        with pytest.raises(Refused, match="budget"):
            async with Calls(callback).metered("token", "s", CALLED):
                pass


async def test_nothing_of_an_answer_is_whole_without_its_end() -> None:
    """A stream that ends early without an error is one that broke off."""
    async with model_place(streaming(frames(start(), *text("12345678")))) as place:
        await place.ask()
        [(_, _, usage)] = await place.settled(1)
        assert usage is not None and usage["output_tokens"] == 3 and place.book.estimates == 1
