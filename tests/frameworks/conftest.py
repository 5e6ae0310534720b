"""These tests download and build, and take minutes: they run where they are asked for, `-m frameworks`."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.server import Server
from tests.frameworks.app import App, running
from tests.frameworks.frame import FLAGS, Window, window
from tests.frameworks.gateway import Gateway
from tests.frameworks.stock import NEXT, VITE, generated


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The product, under a preview domain that no browser and no framework takes for this machine's own, and
    with no way out of its sandboxes.
    """
    folder = Path(tempfile.mkdtemp(prefix="stock-"))
    told = {
        "OPENSESSIONS_PREVIEW_DOMAIN": "preview.test",
        "OPENSESSIONS_EGRESS_ALLOW": "",
        "TMPDIR": str(folder),
    }
    started = Server(folder, environment=told).start()
    yield started
    stopped = started.stop()
    log = started.log()
    shutil.rmtree(folder)
    assert stopped == 0, log


@pytest.fixture(scope="module", params=[VITE, NEXT], ids=lambda stock: stock.name)
def app(request: pytest.FixtureRequest, server: Server) -> Iterator[App]:
    """A stock app in a sandbox, served by its own dev server; one at a time."""
    stock = request.param
    with running(stock, generated(stock), server) as started:
        yield started


@pytest.fixture
def gateway(server: Server) -> Iterator[Gateway]:
    made = Gateway(server).start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Window]:
    with window(browser) as made:
        yield made
