"""Spans by OpenTelemetry's SDK, to where its standard variables say. Imported when these are set alone: it
takes a quarter of a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from opensessions.traces import Attributes

_SERVICE = "opensessions"


class Otlp:
    """A `traces.Listener`; what it was told is sent when the process ends, too."""

    def __init__(self) -> None:
        provider = TracerProvider(resource=_named(Resource.create()))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = provider.get_tracer(_SERVICE)
        self._spelling = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, parent: str | None, attributes: Attributes, *, serving: bool
    ) -> Iterator[dict[str, Any]]:
        kind = trace.SpanKind.SERVER if serving else trace.SpanKind.INTERNAL
        more: dict[str, Any] = {}
        # The text of an exception may hold what a caller sent, so that none is recorded.
        with self._tracer.start_as_current_span(
            name, self._above(parent), kind, attributes, record_exception=False, set_status_on_exception=False
        ) as begun:
            try:
                yield more
            except BaseException as error:
                begun.set_status(trace.StatusCode.ERROR)
                begun.set_attribute("error.type", type(error).__name__)
                raise
            finally:
                begun.set_attributes(more)

    def record(
        self, name: str, parent: str, began: datetime, ended: datetime, attributes: Attributes
    ) -> None:
        span = self._tracer.start_span(
            name, self._above(parent), attributes=attributes, start_time=_ns(began)
        )
        span.end(_ns(ended))

    def present(self, attributes: Attributes) -> str:
        trace.get_current_span().set_attributes(dict(attributes))
        carrier: dict[str, str] = {}
        self._spelling.inject(carrier)
        return carrier.get("traceparent", "")

    def _above(self, parent: str | None) -> Any:
        return self._spelling.extract({"traceparent": parent}) if parent else None


def _named(resource: Resource) -> Resource:
    """The resource, called by our name where the environment gives it none."""
    unknown = str(resource.attributes.get("service.name", "")).startswith("unknown_service")
    return resource.merge(Resource({"service.name": _SERVICE})) if unknown else resource


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
