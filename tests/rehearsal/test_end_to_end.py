"""The same tests that the local server passes, of the deployed system."""

import pytest

from tests.e2e.test_main_job import *  # noqa: F403
from tests.e2e.test_watching import *  # noqa: F403

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]
