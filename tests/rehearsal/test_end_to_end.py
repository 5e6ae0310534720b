"""The same tests that the local server passes, of the deployed system."""

import pytest

from tests.e2e import test_main_job
from tests.e2e.test_budgets import *  # noqa: F403
from tests.e2e.test_files import *  # noqa: F403
from tests.e2e.test_keys import *  # noqa: F403
from tests.e2e.test_main_job import *  # noqa: F403
from tests.e2e.test_sleeping import *  # noqa: F403
from tests.e2e.test_tokens import *  # noqa: F403
from tests.e2e.test_watching import *  # noqa: F403
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(480)]


def test_deltas_come_before_the_whole_and_change_nothing(  # type: ignore[no-redef]
    server: Rehearsal,
) -> None:
    """At the gateway that the model's answer passes through: deltas are not told to the others."""
    server.lead(server.gateways[0])
    try:
        test_main_job.test_deltas_come_before_the_whole_and_change_nothing(server)
    finally:
        server.lead(*server.gateways)
