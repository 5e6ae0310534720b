"""Model calls while they run: streaming, hanging up, their number, broken answers, and the end."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from starlette.responses import Response, StreamingResponse

from gateway.paces import Paces
from gateway.rates import Buckets
from tests.gateway.model_parts import (
    ASK,
    OTHER_TOKEN,
    TOKEN,
    Sent,
    end,
    fixed,
    frames,
    model_place,
    start,
    streaming,
    text,
    until,
)

CALL = {"json": ASK, "headers": {"x-api-key": TOKEN}}


async def test_a_stream_passes_byte_for_byte_and_is_heard() -> None:
    whole = frames(start("claude-real"), *text("hello "), *text("wörld\n"), *end())
    async with model_place(streaming(*(whole[i : i + 50] for i in range(0, len(whole), 50)))) as place:
        answer = await place.ask({**ASK, "stream": True})
        assert answer.content == whole
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert place.deltas == [("session_a", "hello "), ("session_a", "wörld\n")]
        usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 7}
        assert await place.settled(1) == [("session_a", "claude-real", usage)]
        place.listening = False
        await place.ask({**ASK, "stream": True}, headers={"x-api-key": OTHER_TOKEN})
        assert len(place.deltas) == 2 and (await place.settled(2))[1][0] == "session_b"
        assert place.book.tokens == [TOKEN, OTHER_TOKEN] and not place.book.estimates


async def test_a_whole_answer_is_metered() -> None:
    message = {"model": "claude-real", "content": [], "usage": {"input_tokens": 1, "output_tokens": 2}}
    async with model_place(fixed(message)) as place:
        assert (await place.ask()).json() == message
        assert await place.settled(1) == [("session_a", "claude-real", message["usage"])]


class Gate:
    """An answer that sends one piece, then waits to be let on; notices when its reader has gone."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started = 0
        self.cancelled = 0

    async def answer(self, sent: Sent) -> Response:
        return StreamingResponse(self._pieces(), media_type="text/event-stream")

    async def _pieces(self):  # type: ignore[no-untyped-def]
        self.started += 1
        whole = False
        try:
            yield frames(start(), *text("first"))
            await self.open.wait()
            yield frames(*text("last"), *end())
            whole = True
        finally:
            self.cancelled += not whole


async def test_the_first_piece_arrives_before_the_last_exists() -> None:
    gate = Gate()
    async with (
        model_place(gate.answer) as place,
        place.client.stream("POST", "/v1/messages", **CALL) as answer,
    ):
        pieces = answer.aiter_bytes()
        assert b"first" in await anext(pieces)
        await until(lambda: place.deltas == [("session_a", "first")])
        gate.open.set()
        assert b"last" in b"".join([piece async for piece in pieces])


async def test_hanging_up_cancels_the_upstream_and_frees_the_place() -> None:
    gate = Gate()
    async with model_place(gate.answer) as place:
        for turn in range(1, 7):  # more than may run at once
            async with place.client.stream("POST", "/v1/messages", **CALL) as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_bytes())
            await until(lambda turn=turn: gate.cancelled == turn and not place.proxy._running)
        said = {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 2}  # "first" is 5 bytes
        assert [usage for _, _, usage in await place.settled(6)] == [said] * 6
        assert place.book.estimates == 6


async def test_hanging_up_before_the_upstream_answers_cancels_it() -> None:
    asked, dropped = asyncio.Event(), asyncio.Event()

    async def never(scope, receive, send):  # type: ignore[no-untyped-def]
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        dropped.set()

    async def answer(sent: Sent) -> Response:
        return never  # type: ignore[return-value]

    async with model_place(answer) as place:
        calling = asyncio.ensure_future(place.ask())
        await asyncio.wait_for(asked.wait(), 5)
        calling.cancel()
        await asyncio.wait_for(dropped.wait(), 5)


async def test_the_fifth_call_at_once_is_429_and_another_sandbox_is_not_touched() -> None:
    gate = Gate()
    async with model_place(gate.answer) as place:
        calls = [asyncio.ensure_future(place.ask()) for _ in range(4)]
        await until(lambda: gate.started == 4)
        fifth = await place.ask()
        assert (fifth.status_code, fifth.headers["retry-after"]) == (429, "1")
        assert fifth.json()["error"]["type"] == "rate_limit_error"
        calls.append(asyncio.ensure_future(place.ask(headers={"x-api-key": OTHER_TOKEN})))
        await until(lambda: gate.started == 5)
        gate.open.set()
        assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200] * 5
        assert (await place.ask()).status_code == 200


async def test_who_calls_too_often_is_429_and_another_sandbox_is_not_touched() -> None:
    async with model_place(fixed({"model": "claude-real", "content": []})) as place:
        place.proxy._rates = Buckets(rate=0.01, burst=3)
        assert [(await place.ask()).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await place.ask()
        assert int(refused.headers["retry-after"]) > 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert (await place.ask(headers={"x-api-key": OTHER_TOKEN})).status_code == 200


async def test_a_fast_answer_comes_at_a_pace() -> None:
    async with model_place(streaming(*[frames(*text("x" * 1000))] * 500)) as place:
        place.proxy._paces = Paces(rate=50_000, burst=10_000)
        size, began = 0, asyncio.get_running_loop().time()
        async with place.client.stream("POST", "/v1/messages", **CALL) as answered:
            async for piece in answered.aiter_bytes():
                size += len(piece)
                if (took := asyncio.get_running_loop().time() - began) > 0.5:
                    break
        assert size < 10_000 + 50_000 * took + 70_000  # one read of the proxy more


async def test_a_broken_stream_does_not_look_whole() -> None:
    async def body():  # type: ignore[no-untyped-def]
        yield frames(start(), *text("x"))
        raise ConnectionResetError

    async def answer(sent: Sent) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    async with model_place(answer) as place:
        with pytest.raises(httpx2.RemoteProtocolError):
            await place.ask()
        [(_, _, usage)] = await place.settled(1)
        assert usage is not None and usage["input_tokens"] == 5 and place.book.estimates == 1


async def test_closing_lets_running_calls_finish_and_refuses_new_ones() -> None:
    gate = Gate()
    async with model_place(gate.answer) as place:
        running = asyncio.ensure_future(place.ask())
        await until(lambda: gate.started == 1)
        closing = asyncio.ensure_future(place.proxy.aclose(deadline=10))
        await asyncio.sleep(0)
        late = await place.ask()
        assert (late.status_code, late.json()["error"]["type"]) == (529, "overloaded_error")
        gate.open.set()
        assert b"last" in (await running).content
        await closing


async def test_closing_cuts_what_outlives_the_deadline() -> None:
    gate = Gate()
    async with model_place(gate.answer) as place:
        running = asyncio.ensure_future(place.ask())
        await until(lambda: gate.started == 1)
        await asyncio.wait_for(place.proxy.aclose(deadline=0), 5)
        with pytest.raises(httpx2.RemoteProtocolError):
            await running
        await until(lambda: gate.cancelled == 1)
