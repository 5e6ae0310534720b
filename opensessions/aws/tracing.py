"""Subsegments for X-Ray. Its own SDK takes as long to import as the whole API does; this is what of it the
functions use.
"""

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from aws_lambda_powertools.tracing.base import BaseProvider, BaseSegment

_HEADER = b'{"format": "json", "version": 1}\n'


class Subsegment(BaseSegment):
    """One piece of work below the segment that Lambda made for an invocation."""

    def __init__(self, name: str, trace: str, parent: str) -> None:
        self.document: dict[str, Any] = {
            "type": "subsegment",
            "name": name,
            "id": secrets.token_hex(8),
            "trace_id": trace,
            "parent_id": parent,
            "start_time": time.time(),
        }

    def close(self, end_time: float | None = None) -> None:
        self.document["end_time"] = end_time or time.time()

    def put_annotation(self, key: str, value: Any) -> None:
        self.document.setdefault("annotations", {})[key] = value

    def put_metadata(self, key: str, value: Any, namespace: str = "default") -> None:
        self.document.setdefault("metadata", {}).setdefault(namespace, {})[key] = value

    def add_exception(self, exception: BaseException, stack: Any, remote: bool = False) -> None:
        """Its kind alone: the text of an exception may hold what a caller sent."""
        cause = {"id": secrets.token_hex(8), "type": type(exception).__name__, "remote": remote}
        self.document |= {"fault": True, "cause": {"exceptions": [cause]}}

    def add_subsegment(self, subsegment: Any) -> None: ...

    def remove_subsegment(self, subsegment: Any) -> None: ...


class XRay(BaseProvider):
    """A provider for Powertools' Tracer. Where nobody traces, nothing is sent; where nobody listens, it is
    lost.
    """

    def __init__(self) -> None:
        self._open: list[Subsegment] = []

    @contextmanager
    def in_subsegment(self, name: str = "", **_: Any) -> Iterator[Subsegment]:
        trace = _trace(os.environ.get("_X_AMZN_TRACE_ID", ""))
        parent = self._open[-1].document["id"] if self._open else trace.get("Parent", "")
        subsegment = Subsegment(name, trace.get("Root", ""), parent)
        self._open.append(subsegment)
        try:
            yield subsegment
        except Exception as error:
            subsegment.add_exception(error, [])
            raise
        finally:
            self._open.remove(subsegment)
            subsegment.close()
            if trace.get("Sampled") == "1":
                _send(subsegment.document)

    def in_subsegment_async(self, name: str = "", **_: Any) -> AbstractAsyncContextManager[BaseSegment]:
        raise NotImplementedError("Handlers are not async.")

    def put_annotation(self, key: str, value: Any) -> None:
        if self._open:
            self._open[-1].put_annotation(key, value)

    def put_metadata(self, key: str, value: Any, namespace: str = "default") -> None:
        if self._open:
            self._open[-1].put_metadata(key, value, namespace)

    def patch(self, modules: Sequence[str]) -> None: ...

    def patch_all(self) -> None: ...


def _trace(header: str) -> dict[str, str]:
    """`Root`, `Parent` and `Sampled` of what Lambda says about this invocation."""
    return dict(part.split("=", 1) for part in header.split(";") if "=" in part)


def _send(document: dict[str, Any]) -> None:
    host, _, port = os.environ.get("AWS_XRAY_DAEMON_ADDRESS", "").rpartition(":")
    if host and port.isdecimal():
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as away:
            away.setblocking(False)
            away.sendto(_HEADER + json.dumps(document).encode(), (host, int(port)))
