"""A browser page of another origin and its own EventSource, which cannot send a header."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from playwright.async_api import Page, async_playwright
from starlette.responses import HTMLResponse

from tests.gateway.model_parts import serving, until
from tests.gateway.stream_parts import KEY, S1, public

PAGE = """<!doctype html><title>product</title><script>
const seen = [], named = [], states = [];
const source = new EventSource(location.hash.slice(1));
source.onmessage = (message) => {
  const event = JSON.parse(message.data);
  seen.push([event.seq, message.lastEventId, event.type]);
};
source.addEventListener("ping", () => named.push("ping"));
source.addEventListener("delta", (message) => named.push(JSON.parse(message.data).text));
source.onopen = () => states.push("open");
source.onerror = () => states.push(source.readyState === EventSource.CLOSED ? "closed" : "cut");
</script>"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@asynccontextmanager
async def page_of_another_origin(stream: str) -> AsyncIterator[Page]:
    async with serving(HTMLResponse(PAGE)) as origin, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page()
        await page.goto(f"{origin}/#{stream}")
        try:
            yield page
        finally:
            await browser.close()


async def seen(page: Page, count: int) -> list[Any]:
    await page.wait_for_function(f"seen.length >= {count}")
    return list(await page.evaluate("seen"))


class Cable:
    """A TCP relay on loopback whose connections can be cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._pour(reader, far_writer), self._pour(far_reader, writer))

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_an_eventsource_survives_10_cuts_and_stops_for_good_at_the_end() -> None:
    async with public(retry_milliseconds=10, heartbeat_seconds=0.05) as side:
        cable = Cable(int(side.url.rpartition(":")[2]))
        async with cable.laid() as side.url, page_of_another_origin(side.path(api_key=KEY, after=0)) as page:
            assert await seen(page, 3) == [[n, str(n), "assistant"] for n in (1, 2, 3)]
            for n in range(4, 14):
                await page.wait_for_function("states.at(-1) === 'open'")
                cable.cut()
                await page.wait_for_function(f"states.length > {2 * (n - 3) - 1}")
                side.say()
                assert len(await seen(page, n)) == n
            await page.wait_for_function("named.includes('ping')")
            side.say(type="session_ended")
            got = await seen(page, 14)
            assert [seq for seq, _, _ in got] == list(range(1, 15))
            assert got[-1] == [14, "14", "session_ended"]
            await page.wait_for_function("source.readyState === EventSource.CLOSED")
            states = await page.evaluate("states")
            assert states == ["open", "cut"] * 11 + ["closed"]


async def test_an_eventsource_gets_partial_text_by_its_name_when_it_asks() -> None:
    async with (
        public() as side,
        page_of_another_origin(side.path(api_key=KEY, after=3, deltas=1)) as page,
    ):
        await until(lambda: side.hub.wants_deltas(S1))
        side.hub.delta(S1, "Hel")
        side.say(text="Hello")
        await seen(page, 1)
        assert await page.evaluate("named") == ["Hel"]


async def test_a_page_can_tell_that_its_key_is_not_taken_in_the_url() -> None:
    async with (
        public(allow_query_key=False) as side,
        page_of_another_origin(side.path(api_key=KEY)) as page,
    ):
        await page.wait_for_function("source.readyState === EventSource.CLOSED")
        assert await page.evaluate("states") == ["closed"]
        status = "fetch(location.hash.slice(1)).then(async (answer) => (await answer.json()).error.type)"
        assert await page.evaluate(status) == "unauthorized"
