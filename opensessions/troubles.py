"""The trouble of one among many."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from opensessions.errors import Stale
from opensessions.logbook import about

log = logging.getLogger(__name__)


@contextmanager
def apart(what: str) -> Iterator[None]:
    """The trouble of one must not keep the sweep from the others: it is logged, and tried again."""
    with about():
        try:
            yield
        except Stale:
            log.info("%s changed under the sweep; it is looked at again", what)
        except Exception:
            log.exception("%s could not be looked at; it is tried again", what)
