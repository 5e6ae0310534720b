"""A revoked key closes what it opened."""

import asyncio

from tests.gateway.stream_parts import API_KEY, S1, WITH_KEY, public


async def test_streams_of_a_revoked_key_close_and_those_of_a_token_go_on() -> None:
    async with public() as side:
        url = side.path(token=side.sessions.token())
        async with side.client.stream("GET", url, timeout=10) as by_token, side.watch() as one:
            async with side.watch() as two:
                side.sessions.revoked = True
                async with asyncio.timeout(5):
                    await asyncio.gather(one.answer.aread(), two.answer.aread())
            side.say(text="still here")
            async for line in by_token.aiter_lines():
                if "still here" in line:
                    break


async def test_a_key_is_not_looked_at_once_nothing_of_it_is_open() -> None:
    async with public() as side:
        side.sessions.add(S1, 1, type="session_ended")
        await side.client.get(side.path(), headers=WITH_KEY)
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task.get_name() == API_KEY.id] == []
