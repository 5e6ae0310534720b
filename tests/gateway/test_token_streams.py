"""A session's token on the event stream: what it opens, and that what it opened ends with it."""

import asyncio
from collections.abc import Callable

import pytest

from gateway import leases
from tests.gateway.stream_parts import S1, WITH_KEY, Public, public
from tests.gateway.test_browser_streams import page_of_another_origin

S2 = "session_" + "2" * 32


async def status(side: Public, session_id: str = S1, shown: str = "", **query: str) -> int:
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    answer = await side.client.get(side.path(session_id, after="99", **query), headers=headers)
    return int(answer.status_code)


async def test_a_token_opens_the_stream_of_its_session_alone() -> None:
    async with public() as side:
        side.sessions.add(S2, 1, type="session_ended")
        side.sessions.add(S1, 1, type="session_ended")
        token = side.sessions.token()
        assert await status(side, shown=token) == await status(side, token=token) == 204
        assert await status(side, S2, token) == await status(side, S2, token=token) == 404
        for wrong in ("oss_", token[:-1], side.sessions.token(seconds=-1)):
            assert await status(side, shown=wrong) == await status(side, token=wrong) == 401


async def test_the_query_takes_a_token_by_its_own_name_alone() -> None:
    async with public(allow_query_key=False) as side:
        side.sessions.add(S1, 1, type="session_ended")
        key, token = WITH_KEY["X-API-Key"], side.sessions.token()
        for query in ({"token": key}, {"api_key": token}, {"api_key": key}, {"access_token": token}):
            assert await status(side, **query) == 401, query


async def closes(side: Public, end: Callable[[], object], within: float, **held: float) -> None:
    async with side.client.stream("GET", side.path(token=side.sessions.token(**held)), timeout=10) as answer:
        assert answer.status_code == 200
        end()
        async with asyncio.timeout(within):
            await answer.aread()


async def test_a_revoked_token_closes_its_streams_and_no_others() -> None:
    async with public() as side, side.watch() as by_key:

        def revoke() -> None:
            side.sessions.revocations += 1

        await closes(side, revoke, 4)  # nobody tells
        await closes(side, lambda: (revoke(), side.hub.wake(S1)), 1)
        side.say(text="still here")
        assert (await by_key.take(4))[-1].json["text"] == "still here"


async def test_a_stream_ends_when_its_token_expires() -> None:
    async with public() as side:
        await closes(side, lambda: None, 2, seconds=0.5)


async def test_a_slow_client_of_an_ended_session_is_cut_and_a_quick_one_hears_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "LAST_WORDS_SECONDS", 0.2)
    async with public() as side:
        url = side.path(token=side.sessions.token())
        async with side.client.stream("GET", url, timeout=10) as answer:
            side.say(type="session_ended")
            assert b"session_ended" in await answer.aread()
        await closes(side, lambda: side.sessions.events.pop(S1) and side.hub.wake(S1), 2)


async def test_nothing_is_looked_at_once_nobody_watches() -> None:
    async with public() as side:
        await closes(side, lambda: side.hub.wake(S1), 2, seconds=0.3)
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task.get_name() == f"tokens of {S1}"] == []


async def test_an_eventsource_of_another_origin_watches_until_it_is_revoked() -> None:
    async with (
        public(allow_query_key=False) as side,
        page_of_another_origin(side.path(token=side.sessions.token())) as page,
    ):
        await page.wait_for_function("seen.length >= 3")
        side.say()
        await page.wait_for_function("seen.length >= 4")
        side.sessions.revocations += 1
        await page.wait_for_function("states.at(-1) === 'cut'", timeout=5000)
        await page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=10_000)


async def test_fetch_of_another_origin_reads_the_stream_with_a_header() -> None:
    async with public() as side, page_of_another_origin(side.path(token="none")) as page:
        token = side.sessions.token()
        read = """async ([url, token]) => {
          const answer = await fetch(url, {headers: {Authorization: `Bearer ${token}`}});
          const reader = answer.body.getReader(), text = new TextDecoder();
          let all = "";
          while (!all.includes("id: 3")) all += text.decode((await reader.read()).value, {stream: true});
          reader.cancel();
          return answer.status;
        }"""
        assert await page.evaluate(read, [side.path(), token]) == 200
