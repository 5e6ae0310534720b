"""`GET /metrics`: this server in numbers, as Prometheus reads them. No name of a session is in them."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opensessions.local.database import Database
from opensessions.money.ledger import NANO, Amounts
from opensessions.webhooks.deliveries import Outcome, Post
from opensessions.webhooks.hooks import Hook

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
EVENTS = "/callback/v1/events"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_DAYS = "SELECT used FROM meter WHERE session_id IS NULL AND user_id IS NULL AND length(period) = 10"
_SESSIONS = "SELECT json_extract(body, '$.status'), count(*) FROM head GROUP BY 1"
_SANDBOXES = "SELECT json_extract(body, '$.sandbox_status') AS state, count(*) FROM head GROUP BY 1"
_SPARES = "SELECT json_extract(body, '$.state'), count(*) FROM spare GROUP BY 1"
_LETTERS = "SELECT count(*) FROM letter"

Numbers = Mapping[str, float]


class Metrics:
    """Counts what passes through `timed` and `counted`, since this process began; all else is looked up.
    `streams` tells how many of each kind are open. Thread-safe.
    """

    def __init__(self, database: Database, streams: Callable[[], Numbers]) -> None:
        self._database, self._streams = database, streams
        self._lock = Lock()
        self._slower: Counter[float] = Counter()
        self._appends, self._seconds = 0, 0.0
        self._delivered: Counter[str] = Counter({"taken": 0, "failed": 0})

    def timed(self, callback: ASGIApp) -> ASGIApp:
        """The callback, with the time that it takes for each batch of events."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            began = time.monotonic()

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] == 200:
                    self._took(time.monotonic() - began)
                await send(message)

            await callback(scope, receive, sent if scope.get("path") == EVENTS else send)

        return watched

    def counted(self, post: Post) -> Post:
        """Whoever delivers to webhooks, with what comes of it."""

        def delivered(hook: Hook, delivery_id: str, body: str) -> Outcome:
            outcome = post(hook, delivery_id, body)
            with self._lock:
                self._delivered["failed" if outcome.error else "taken"] += 1
            return outcome

        return delivered

    def text(self) -> str:
        """Everything, now."""
        return "".join(f"{line}\n" for line in (*self._stored(), *self._passing()))

    def _took(self, seconds: float) -> None:
        with self._lock:
            self._appends += 1
            self._seconds += seconds
            self._slower.update(bound for bound in BUCKETS if seconds <= bound)

    def _stored(self) -> Iterator[str]:
        used = sum((Amounts(**json.loads(text)) for text in self._rows(_DAYS)), Amounts())
        tokens = {name.removesuffix("_tokens"): n for name, n in used if name.endswith("_tokens")}
        live = {"starting": 0, "running": 0} | self._counts(_SANDBOXES)
        yield from _family("sessions", "gauge", self._counts(_SESSIONS), "status")
        yield from _family(
            "sandboxes", "gauge", {state: live[state] for state in ("starting", "running")}, "state"
        )
        yield from _family("warm_sandboxes", "gauge", {"ready": 0} | self._counts(_SPARES), "state")
        yield from _family("model_calls_total", "counter", {"": used.calls})
        yield from _family("model_tokens_total", "counter", tokens, "class")
        yield from _family("model_cost_dollars_total", "counter", {"": used.nanodollars / NANO})
        yield from _family("sandbox_seconds_total", "counter", {"": used.sandbox_milliseconds / 1000})
        yield from _family("egress_bytes_total", "counter", {"": used.egress_bytes})
        yield from _family("webhook_dead_letters", "gauge", {"": next(self._rows(_LETTERS))})

    def _passing(self) -> Iterator[str]:
        with self._lock:
            count, seconds, delivered = self._appends, self._seconds, dict(self._delivered)
            buckets = {f"{bound:g}": self._slower[bound] for bound in BUCKETS} | {"+Inf": count}
        yield from _family("open_streams", "gauge", self._streams(), "kind")
        yield from _family("webhook_deliveries_total", "counter", delivered, "outcome")
        yield from _family("event_append_seconds", "histogram", buckets, "le", "_bucket")
        yield f"opensessions_event_append_seconds_sum {seconds:.6f}"
        yield f"opensessions_event_append_seconds_count {count}"

    def _counts(self, sql: str) -> dict[str, float]:
        with self._database.reading() as db:
            return dict(db.execute(sql).fetchall())

    def _rows(self, sql: str) -> Iterator[Any]:
        with self._database.reading() as db:
            yield from (value for (value,) in db.execute(sql).fetchall())


def _family(name: str, kind: str, values: Numbers, label: str = "", suffix: str = "") -> Iterator[str]:
    yield f"# TYPE opensessions_{name} {kind}"
    for key, value in values.items():
        labels = f'{{{label}="{key}"}}' if label else ""
        yield f"opensessions_{name}{suffix}{labels} {value:.15g}"
