"""Logs, metrics and traces of the functions. No token, key, prompt or query string is ever logged."""

import logging
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "opensessions"
SERVICE = "opensessions"

logger = Logger(service=SERVICE)
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)
tracer = Tracer(service=SERVICE, auto_patch=False)

Handler = Callable[[Any, Any], Any]


def observed(session_id_path: str | None = None) -> Callable[[Handler], Handler]:
    """Wrap a handler: every line that it logs is JSON and holds the session's id as `correlation_id`, found
    in the event at a JMESPath.
    """
    package = logging.getLogger("opensessions")
    package.handlers = [logger.registered_handler]
    package.setLevel(logging.INFO)
    package.propagate = False

    def wrap(handler: Handler) -> Handler:
        logged = logger.inject_lambda_context(handler, correlation_id_path=session_id_path, clear_state=True)
        return tracer.capture_lambda_handler(logged, capture_response=False, capture_error=False)

    return wrap


def count(**counted: float) -> None:
    """Emit metrics; the names are `infra/alarms.py`'s. A session's id is never a dimension."""
    for name, value in counted.items():
        unit = MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count
        metrics.add_metric(name, unit, value)
    metrics.flush_metrics()
