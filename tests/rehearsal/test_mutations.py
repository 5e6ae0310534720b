"""Every mistake in the table is found by a tool that the table names; the cheapest is asked."""

from collections.abc import Iterator

import pytest

from tests.rehearsal.mutation_table import assertions, lint
from tests.rehearsal.mutations import ASSERTIONS, LINT, MUTATIONS, Mutation
from tests.rehearsal.trial import Trials

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with Trials(tmp_path_factory.mktemp("trials")) as made:
        yield made


def test_the_sound_stack_does_its_job(trials: Trials) -> None:
    assert trials.run(trials.template()) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name.replace(" ", "-"))
def test_a_mistake_is_found(trials: Trials, mutation: Mutation) -> None:
    body = trials.template()
    mutation.change(body)
    if ASSERTIONS in mutation.by:
        found = assertions(body, trials.template())
    elif LINT in mutation.by:
        found = lint(body)
    else:
        found = trials.run(body)
    assert found


def test_there_are_enough_of_them() -> None:
    assert len(MUTATIONS) >= 26
