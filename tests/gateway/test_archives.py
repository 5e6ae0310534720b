"""A sandbox's archives on their way: what is stored, what is given back, and what is refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from gateway.archive_bounds import HOURLY, UNFINISHED, Account
from opensessions.archives import LISTING, PART_BYTES
from opensessions.errors import RateLimited, TooLarge
from opensessions.models import Archive, Limits, Session
from opensessions.ports import BlobStore
from opensessions.sessions.keeping import archives_of, place
from tests.fakes import Clock, World
from tests.gateway.sandbox_parts import Side, sandbox_side

ONE, TWO = "1" * 32, "2" * 32
MB = 2**20


def part_of(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@dataclass
class Sandbox:
    """A sandbox, as far as its archives go."""

    side: Side
    session: Session

    async def begin(self, archive_id: str, number: int | str, part: dict[str, Any]) -> httpx2.Response:
        path = f"/sandbox/v1/archives/{archive_id}/parts/{number}"
        return await self.side.client.post(path, json=part, headers=self.side.bearer(self.session))

    async def put(self, url: str, data: bytes) -> httpx2.Response:
        return await self.side.client.put(url, content=data, headers=self.side.bearer(self.session))

    async def store(self, archive_id: str, number: int, data: bytes) -> httpx2.Response:
        answer = await self.begin(archive_id, number, part_of(data))
        assert answer.status_code == 200, answer.text
        return await self.put(answer.json()["url"], data)

    async def get(self, archive_id: str, number: int | str) -> httpx2.Response:
        path = f"/sandbox/v1/archives/{archive_id}/parts/{number}"
        return await self.side.client.get(path, headers=self.side.bearer(self.session))

    async def keep(self, archive_id: str, **said: Any) -> httpx2.Response:
        path = f"/sandbox/v1/archives/{archive_id}"
        return await self.side.client.post(path, json=said, headers=self.side.bearer(self.session))


@asynccontextmanager
async def sandbox(
    here: World, blobs: BlobStore | None = None, most: int = 10**9, **more: Any
) -> AsyncIterator[Sandbox]:
    session = here.create(limits=Limits(workspace_bytes=most))
    async with sandbox_side(here, blobs=blobs, **more) as side:
        yield Sandbox(side, session)


def keep(here: World, session: Session, archive_id: str) -> None:
    """Make an archive one that the session comes back from."""
    before = here.now(session)
    archive = Archive(
        id=archive_id, kind="full", size=1, bytes=1, files=1, created_at=datetime(2026, 11, 24, tzinfo=UTC)
    )
    here.store.commit(before, before.model_copy(update={"archives": (*before.archives, archive)}))


async def test_an_archive_goes_out_part_by_part_and_becomes_durable(here: World) -> None:
    async with sandbox(here) as box:
        listing, parts = b"listing", [b"a" * 1000, b"b"]
        for number, data in enumerate(parts):
            assert (await box.store(ONE, number, data)).status_code == 204
        assert (await box.store(ONE, LISTING, listing)).status_code == 204
        said = {"kind": "full", "bytes": 5, "files": 2, "listing": part_of(listing)}
        with box.side.hub.watch(box.session.id, 0, 2) as watcher:
            answer = await box.keep(ONE, parts=[part_of(data) for data in parts], **said)
            assert (answer.status_code, answer.json()) == (200, {"version": None, "stop": False})
            assert await watcher.next(within=10)
        assert [archive.id for archive in here.now(box.session).archives] == [ONE]
        assert [(await box.get(ONE, n)).content for n in (0, 1, LISTING)] == [*parts, listing]
        for refused in (await box.begin(ONE, 0, part_of(b"x")), await box.put(_url(ONE, 0, b"x"), b"x")):
            assert refused.status_code == 409


async def test_what_the_callback_says_of_an_archive_is_the_answer(here: World) -> None:
    async with sandbox(here) as box:
        await box.store(ONE, 0, b"a")
        said = {"kind": "full", "bytes": 1, "files": 1, "parts": [part_of(b"a")]}
        missing = await box.keep(ONE, listing=part_of(b"never sent"), **said)
        assert (missing.status_code, missing.json()["error"]["type"]) == (409, "conflict")
        nonsense = await box.keep(ONE, kind="odd")
        assert (nonsense.status_code, nonsense.json()["error"]["field"]) == (400, "archive.kind")
        assert here.now(box.session).archives == ()


async def test_a_callback_that_is_away_is_tried_again(here: World) -> None:
    class Away(httpx2.AsyncBaseTransport):
        def __init__(self, real: httpx2.ASGITransport) -> None: ...

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, json={"version": "odd"})

    async with sandbox(here, transport=Away) as box:
        answer = await box.keep(ONE, kind="full")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def _url(archive_id: str, number: int | str, data: bytes, **other: Any) -> str:
    query = httpx2.QueryParams({**part_of(data), **other})
    return f"/sandbox/v1/archives/{archive_id}/parts/{number}?{query}"


@pytest.mark.parametrize(
    "url",
    [
        _url(ONE, 0, b"good", size=5),
        _url(ONE, 0, b"good", size=3),
        _url(ONE, 0, b"good", size="x"),
        _url(ONE, 0, b"good", size=PART_BYTES + 1),
        _url(ONE, 0, b"good", sha256="0" * 64),
        _url(ONE, 0, b"good", sha256="0"),
        _url(ONE, 0, b"good", sha256=""),
    ],
)
async def test_bytes_that_were_not_announced_are_not_stored(here: World, url: str) -> None:
    async with sandbox(here) as box:
        assert (await box.put(url, b"good")).status_code == 400
    assert here.blobs.names(archives_of(box.session.id)) == []


async def test_a_body_without_a_length_is_refused(here: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"good"

    async with sandbox(here) as box:
        answer = await box.put(_url(ONE, 0, b"good"), chunks())  # type: ignore[arg-type]
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("archive_id", "number"),
    [(ONE, 257), (ONE, "00"), (ONE, "-1"), (ONE, "manifest"), ("1" * 31, 0), ("A" * 32, 0), ("..", 0)],
)
async def test_only_ids_and_numbers_name_parts(here: World, archive_id: str, number: int | str) -> None:
    async with sandbox(here) as box:
        keep(here, box.session, ONE)
        here.blobs.put(f"{place(box.session.id, ONE)}/manifest", b"{}")
        assert (await box.begin(archive_id, number, part_of(b"x"))).status_code == 404
        assert (await box.put(_url(archive_id, number, b"x"), b"x")).status_code == 404
        assert (await box.get(archive_id, number)).status_code == 404


async def test_a_sandbox_reads_what_its_own_session_keeps(here: World) -> None:
    async with sandbox(here) as box:
        other = here.create()
        for session in (box.session, other):
            here.blobs.put(f"{place(session.id, ONE)}/0", session.id.encode())
            here.blobs.put(f"{place(session.id, TWO)}/0", b"unfinished")
        assert (await box.get(ONE, 0)).status_code == 404
        keep(here, other, ONE)
        assert (await box.get(ONE, 0)).status_code == 404
        keep(here, box.session, ONE)
        assert (await box.get(ONE, 0)).content == box.session.id.encode()
        assert (await box.get(TWO, 0)).status_code == (await box.get(ONE, 1)).status_code == 404


async def test_without_the_workers_token_there_is_nothing(here: World) -> None:
    async with sandbox(here) as box:
        for token in ("x", here.token(box.session)[:-1]):
            headers = {"Authorization": f"Bearer {token}"}
            for method in ("GET", "PUT", "POST"):
                path = f"/sandbox/v1/archives/{ONE}/parts/0"
                assert (await box.side.client.request(method, path, headers=headers)).status_code == 401
            path = f"/sandbox/v1/archives/{ONE}"
            assert (await box.side.client.post(path, headers=headers, json={})).status_code == 401


async def test_a_newer_archive_takes_the_place_of_one_that_was_not_finished(here: World) -> None:
    async with sandbox(here) as box:
        for number in range(2):
            await box.store(ONE, number, b"old")
        await box.store(TWO, 0, b"new")
        assert here.blobs.names(archives_of(box.session.id)) == [TWO]


async def test_one_that_was_refused_is_not_in_the_way_of_that(here: World) -> None:
    async with sandbox(here) as box:
        await box.store(ONE, 0, b"old")
        assert (await box.keep(ONE, kind="odd")).status_code == 400
        await box.store(TWO, 0, b"new")
        assert here.blobs.names(archives_of(box.session.id)) == [TWO]


async def test_an_archive_whose_answer_got_lost_is_not_taken_for_unfinished(here: World) -> None:
    class Losing(httpx2.AsyncBaseTransport):
        def __init__(self, real: httpx2.ASGITransport) -> None:
            self.real = real

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await self.real.handle_async_request(request)
            raise httpx2.ReadTimeout("the answer got lost", request=request)

    async with sandbox(here, transport=Losing) as box:
        for number in (0, LISTING):
            await box.store(ONE, number, b"old")
        part = part_of(b"old")
        answer = await box.keep(ONE, kind="full", parts=[part], listing=part, bytes=3, files=1)
        assert answer.status_code == 503
        await box.store(TWO, 0, b"new")
        assert [archive.id for archive in here.now(box.session).archives] == [ONE]
        assert (await box.get(ONE, 0)).content == b"old"


async def test_one_archive_stays_within_what_the_workspace_may_have(here: World) -> None:
    async with sandbox(here, most=100) as box:
        url = _url(ONE, 0, b"x" * PART_BYTES)
        assert (await box.put(url, b"x" * PART_BYTES)).status_code == 204
        assert (await box.store(ONE, 1, b"x" * 100)).status_code == 204
        assert (await box.store(ONE, 1, b"y" * 100)).status_code == 204
        answer = await box.store(ONE, 2, b"x")
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "too_large")


async def test_a_sandbox_has_two_uploads_under_way(here: World) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        await go.wait()
        yield b"slow"

    go = asyncio.Event()
    async with sandbox(here) as box:
        headers = {**box.side.bearer(box.session), "Content-Length": "4"}
        waiting = [
            asyncio.create_task(
                box.side.client.put(_url(ONE, number, b"slow"), content=slowly(), headers=headers)
            )
            for number in range(2)
        ]
        async with asyncio.timeout(30):
            while (answer := await box.store(ONE, 2, b"x")).status_code != 429:
                await asyncio.sleep(0.01)
        assert int(answer.headers["retry-after"]) == 1
        go.set()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [204, 204]
        assert (await box.store(ONE, 2, b"x")).status_code == 204


class Bucket:
    """A store with addresses of its own; whatever is put here is a mistake."""

    def upload_url(self, key: str, size: int, sha256: str) -> str | None:
        return f"https://bucket.test/{key}?size={size}"

    def download_url(self, key: str) -> str | None:
        return f"https://bucket.test/{key}?signed=a%2Fb"


async def test_where_the_store_has_addresses_the_bytes_go_there(here: World) -> None:
    async with sandbox(here, blobs=Bucket()) as box:  # type: ignore[arg-type]
        keep(here, box.session, TWO)
        key = f"{place(box.session.id, ONE)}/0"
        begun = await box.begin(ONE, 0, part_of(b"four"))
        assert begun.json() == {"url": f"https://bucket.test/{key}?size=4"}
        assert (await box.put(_url(ONE, 0, b"four"), b"four")).status_code == 409
        found = await box.get(TWO, 3)
        assert found.status_code == 307
        assert found.headers["location"].endswith(f"{place(box.session.id, TWO)}/3?signed=a%2Fb")


def test_what_is_stored_in_an_hour_is_bounded() -> None:
    clock = Clock()
    account = Account(10 * PART_BYTES, lambda: clock().timestamp())
    for _ in range(HOURLY * 11):
        account.declare(ONE, 0, PART_BYTES)
    with pytest.raises(RateLimited) as refused:
        account.declare(ONE, 0, PART_BYTES)
    clock.tick(refused.value.retry_after)
    account.declare(ONE, 0, PART_BYTES)
    account.withdraw(PART_BYTES)
    account.declare(ONE, 0, PART_BYTES)
    with pytest.raises(RateLimited):
        account.declare(ONE, 0, PART_BYTES)


def test_archives_that_never_become_one_are_few_and_those_that_do_are_many() -> None:
    clock = Clock()
    account = Account(MB, lambda: clock().timestamp())
    for number in range(100):
        assert account.declare(f"{number:032}", 0, 1) is None
        account.finish(f"{number:032}")
    for number in range(UNFINISHED):
        assert account.declare(f"{number:032x}", 0, 1) == (f"{number - 1:032x}" if number else None)
    with pytest.raises(RateLimited):
        account.declare("f" * 32, 0, 1)
    clock.tick(3600 / UNFINISHED)
    account.declare("f" * 32, 0, 1)
    with pytest.raises(TooLarge):
        account.declare("f" * 32, 1, MB + PART_BYTES)
