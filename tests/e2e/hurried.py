"""The local server, whose webhooks are tried again sooner: `python -m tests.e2e.hurried`."""

import sys
from typing import Any

from opensessions.local import server
from opensessions.local.wiring import System

RETRIES = (1, 1)


class Hurried(System):
    def _wire_hooks(self, *args: Any) -> None:
        super()._wire_hooks(*args)
        self.deliveries._retries = RETRIES


if __name__ == "__main__":
    sys.exit(server.main(Hurried))
