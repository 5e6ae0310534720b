"""Logs, metrics and traces of the functions. No token, key, prompt or query string is ever logged."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

from opensessions.aws.tracing import XRay
from opensessions.logbook import Subjects, about, hidden

NAMESPACE = "opensessions"
SERVICE = "opensessions"
"""The one dimension of the metrics."""

Handler = Callable[[Any, Any], Any]


def line(record: Mapping[str, Any]) -> str:
    """A line of the log, without secrets."""
    return hidden(json.dumps(record, default=str))


logger = Logger(json_serializer=line, serialize_stacktrace=False)
logger.registered_handler.addFilter(Subjects())
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)
tracer = Tracer(provider=XRay(), auto_patch=False, disabled=False)


def observed() -> Callable[[Handler], Handler]:
    """Wrap a handler: every line that it logs is JSON, and has the `session_id` of the session that it is
    about.
    """
    package = logging.getLogger("opensessions")
    package.handlers = [logger.registered_handler]
    package.setLevel(logging.INFO)
    package.propagate = False

    def wrap(handler: Handler) -> Handler:
        def apart(event: Any, context: Any) -> Any:
            with about():
                return handler(event, context)

        logged = logger.inject_lambda_context(apart, log_event=False, clear_state=True)
        return tracer.capture_lambda_handler(logged, capture_response=False, capture_error=False)

    return wrap


def count(**counted: float) -> None:
    """Emit metrics; the names are `infra/alarms.py`'s. A session's id is never a dimension. What is 0 is not
    emitted, because a metric is paid for by the hour in which it is.
    """
    told = {name: value for name, value in counted.items() if value}
    for name, value in told.items():
        unit = MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count
        metrics.add_metric(name, unit, value)
    if told:
        metrics.flush_metrics()
