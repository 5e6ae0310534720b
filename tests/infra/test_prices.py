"""The arithmetic of costs, and that the documentation tells it."""

from itertools import product
from pathlib import Path

import pytest

from infra import costs

PAGE = Path(__file__).parents[2] / "docs/deploy.md"


def test_every_price_has_a_source_and_is_used() -> None:
    shapes = product(costs.NETWORKS, costs.PREVIEWS, costs.SIZES)
    lines = [line for shape in shapes for line in costs.idle(*shape)]
    lines += [line for network in costs.NETWORKS for line in costs.left_asleep(network)]
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


def test_sleep_costs_its_archive_and_nothing_by_the_hour() -> None:
    for network in costs.NETWORKS:
        used = costs.left_awake(network, 1200)  # ten minutes of use, and ten until it falls asleep
        asleep = costs.left_asleep(network)
        by_the_hour = [line for line in asleep if line.price.endswith("_hour")]
        assert by_the_hour == [line for line in used if line.price.endswith("_hour")]
        assert sum(line.usd for line in asleep if line.price == "s3_gb_month") == pytest.approx(0.05 * 0.023)
        assert costs.left_to_sleep(network) < costs.left_for_a_lifetime(network) / 10
        assert costs.left_for_a_lifetime(network) < costs.left_for_a_month(network) / 80


def test_what_is_left_awake_is_paid_for_by_the_hour() -> None:
    ten, more = (costs.total(costs.left_awake("isolated", seconds)) for seconds in (600, 4200))
    assert more - ten == pytest.approx(costs.total(costs.awake("isolated", 3600, 180, 0)))
    assert 0.039 < more - ten < costs.hour("isolated")


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="has no"):
        costs.written("nothing")
