"""A session is looked up once a moment, however many parts a page has."""

from typing import Any

import pytest

from opensessions.aws.doors import SECONDS, Doors
from tests.gateway.test_previews import A, session_of


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_remembered_for_a_moment_and_its_address_with_it() -> None:
    time, asked = Time(), []
    session = session_of(A)

    def find(sandbox_id: str) -> Any:
        asked.append(sandbox_id)
        return session

    doors = Doors(find, 7070, time)
    assert doors.find(A) is doors.find(A) is session
    assert asked == [A]
    with pytest.raises(ConnectionRefusedError):
        doors.dial(A, 3000)
    session = session.model_copy(update={"address": "10.0.0.9"})
    time.now += SECONDS
    doors.find(A)
    assert (asked, doors.dial(A, 3000)) == ([A, A], ("10.0.0.9", 7070))


def test_nobody_is_dialled_who_was_not_found() -> None:
    doors = Doors(lambda sandbox_id: None, 7070)
    assert doors.find(A) is None
    with pytest.raises(ConnectionRefusedError):
        doors.dial(A, 3000)
