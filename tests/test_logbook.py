"""Which session a line of the log is about, and what never stands in one."""

import asyncio
import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from opensessions.access import tokens
from opensessions.logbook import Plain, Subjects, about, begin, concerns

ONE, OTHER = (f"session_{letter * 32}" for letter in "ab")


class Book:
    def __init__(self) -> None:
        self._out = io.StringIO()
        self.log = logging.Logger("test")
        handler = logging.StreamHandler(self._out)
        handler.setFormatter(Plain())
        handler.addFilter(Subjects())
        self.log.addHandler(handler)

    def lines(self) -> list[str]:
        return self._out.getvalue().splitlines()

    def of(self, session_id: str) -> list[str]:
        return [line for line in self.lines() if f"session={session_id}" in line]


@pytest.fixture
def book() -> Iterator[Book]:
    with about():
        yield Book()


def test_a_line_is_about_the_session_that_it_names(book: Book) -> None:
    with about(OTHER):
        book.log.warning("session %s failed", ONE)
    book.log.warning("nothing")
    assert len(book.of(ONE)) == 1 and not book.of(OTHER)
    assert book.lines()[1].endswith("WARNING test: nothing")


def test_work_is_about_the_session_that_was_found_meanwhile(book: Book) -> None:
    async def request() -> None:
        begin()
        telling = asyncio.create_task(later())
        await asyncio.to_thread(concerns, ONE)  # whose token it is
        book.log.warning("one")
        await telling

    async def later() -> None:
        await asyncio.sleep(0)
        while not book.lines():
            await asyncio.sleep(0.001)
        await asyncio.to_thread(book.log.warning, "two")

    asyncio.run(request())
    book.log.warning("three")
    assert [line.rsplit(" ", 2)[1] for line in book.of(ONE)] == ["one", "two"]
    assert len(book.lines()) == 3


def test_pieces_of_work_do_not_meet(book: Book) -> None:
    def work(session_id: str) -> None:
        with about():
            concerns(session_id)
            book.log.warning("done")

    with ThreadPoolExecutor(1) as pool:
        list(pool.map(work, [ONE, OTHER, ONE]))
        pool.submit(book.log.warning, "idle").result()
    assert (len(book.of(ONE)), len(book.of(OTHER)), len(book.lines())) == (2, 1, 4)


def test_every_line_of_a_traceback_is_found(book: Book) -> None:
    with about(ONE):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            book.log.exception("failed")
    assert len(book.lines()) > 5 and book.of(ONE) == book.lines()


def test_no_secret_stands_in_a_line(book: Book) -> None:
    worker = tokens.worker_token(f"sb-{'a' * 32}")
    secrets = [worker, tokens.boot_ticket(worker), tokens.api_key(), tokens.session_token(ONE)]
    secrets += [tokens.preview_token(ONE), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "sk-ant-api03-abcdefgh"]
    for secret in secrets:
        book.log.warning("refused: %r, also as ?token=%s&x", secret, secret)
    assert not [secret for secret in secrets if secret in "\n".join(book.lines())]
