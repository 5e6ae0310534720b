"""Logs, metrics and traces of the functions. No token, key, prompt or query string is ever logged."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

from opensessions.aws.tracing import XRay

NAMESPACE = "opensessions"
SERVICE = "opensessions"
"""The one dimension of the metrics."""

_SECRET = re.compile(
    r"os[bwsp]_\w{8,}|(?<=api_key=)[^&\s\"]+|(?<=token=)[^&\s\"]+"
    r"|(?<=input_value=).*?(?=, input_type=)|(?<=, value: ).*(?=, type: <class )"
)
"""The last two are what pydantic and botocore quote of a value that they refuse: it may be a prompt."""
_SESSION = re.compile(r"session_[0-9a-f]{32}")

Handler = Callable[[Any, Any], Any]


def line(record: Mapping[str, Any]) -> str:
    """A line of the log. That nothing secret is in it is for those to see to who log; this is the net below
    them.
    """
    return _SECRET.sub("[redacted]", json.dumps(record, default=str))


class Named(logging.Filter):
    """Whoever names a session in a message is correlated with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if named := _SESSION.search(record.getMessage()):
            record.correlation_id = named[0]
        return True


logger = Logger(json_serializer=line, serialize_stacktrace=False)
logger.registered_handler.addFilter(Named())
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)
tracer = Tracer(provider=XRay(), auto_patch=False, disabled=False)


def observed(session_id_path: str | None = None) -> Callable[[Handler], Handler]:
    """Wrap a handler: every line that it logs is JSON and holds the session's id as `correlation_id`, found
    in the event at a JMESPath or in the line itself.
    """
    package = logging.getLogger("opensessions")
    package.handlers = [logger.registered_handler]
    package.setLevel(logging.INFO)
    package.propagate = False

    def wrap(handler: Handler) -> Handler:
        logged = logger.inject_lambda_context(
            handler, log_event=False, correlation_id_path=session_id_path, clear_state=True
        )
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
