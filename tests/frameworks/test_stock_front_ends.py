"""Freshly generated apps, unconfigured, in a frame of another origin and under a name that is not this
machine's: everything that their dev servers offer works.
"""

import pytest

from tests.frameworks.app import App
from tests.frameworks.frame import Window
from tests.frameworks.gateway import Gateway

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]


def test_it_loads_hydrates_and_hot_reloads_also_after_a_reload(app: App, page: Window) -> None:
    page.embed(app.address(app.server.port))
    page.expect_text(app.text)
    page.expect_hydrated()
    assert_hot(app, page, "Once")
    app.give_counter()
    page.expect_counting()
    page.reload()
    page.expect_text("Once")
    page.expect_counting()
    assert_hot(app, page, "Twice")
    assert page.complaints() == []


def test_it_does_all_that_after_a_restart_of_the_gateway_too(
    app: App, page: Window, gateway: Gateway
) -> None:
    app.give_counter()
    page.embed(app.address(gateway.port))
    page.expect_text(app.text)
    assert_hot(app, page, "Before")
    assert page.complaints() == []
    gateway.kill()
    gateway.start()
    page.reload()
    page.expect_text("Before")
    page.expect_counting()
    assert_hot(app, page, "Afterwards")
    assert only_cut_off(page.complaints())  # the page that was left says so late
    page.reload()
    page.expect_text("Afterwards")
    page.expect_counting()
    assert page.complaints() == []


def test_an_open_page_finds_back_by_itself_after_a_restart_of_the_gateway(
    app: App, page: Window, gateway: Gateway
) -> None:
    # Not in a frame: there Chromium refuses Vite the shared worker by which it waits, whoever serves it.
    page.open(app.address(gateway.port))
    page.expect_text(app.text)
    page.expect_hydrated()
    gateway.kill()
    gateway.start()
    app.edit("Found back")
    page.expect_text("Found back")
    assert only_cut_off(page.complaints())
    page.expect_hydrated()
    assert_hot(app, page, "Here again")
    assert page.complaints() == []


def assert_hot(app: App, page: Window, text: str) -> None:
    """An edit shows without a reload."""
    page.mark()
    app.edit(text)
    page.expect_text(text)
    assert page.marked()


def only_cut_off(complaints: list[str]) -> bool:
    """Whether all that was missing is the gateway, while it was away."""
    return all("net::ERR_CONNECTION_" in complaint for complaint in complaints)
