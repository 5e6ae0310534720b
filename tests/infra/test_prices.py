"""The arithmetic of costs, and that the documentation tells it."""

from itertools import product
from pathlib import Path

import pytest

from infra import costs

PAGE = Path(__file__).parents[2] / "docs/deploy.md"


def test_every_price_has_a_source_and_is_used() -> None:
    shapes = product(costs.NETWORKS, costs.PREVIEWS, costs.SIZES)
    lines = [line for shape in shapes for line in costs.idle(*shape)]
    lines += [line for network in costs.NETWORKS for line in costs.session(network, 60, 1, 1)]
    assert {line.price for line in lines} == set(costs.PRICES)
    assert all(entry["source"].startswith("https://aws.amazon.com/") for entry in costs.SOURCES.values())


def test_the_documentation_has_the_present_table() -> None:
    page = PAGE.read_text()
    assert costs.written(page) == page, "run `python -m infra.costs docs/deploy.md`"


def test_the_idle_month_stays_within_what_was_promised() -> None:
    assert costs.total(costs.idle("isolated", "trial", "small")) <= 55
    assert costs.total(costs.idle("open", "trial", "small")) <= 40


def test_an_hour_costs_its_task_by_the_price_list() -> None:
    task = [line for line in costs.session("isolated", 3600, 1, 1) if line.what == "sandbox"]
    assert costs.total(task) == pytest.approx(0.03238 + 2 * 0.00356)


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="has no"):
        costs.written("nothing")
