"""How long anything may take, judged by a look from time to time: no request costs a timer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.dataplane.client import BODY, DRAIN, HEAD, TUNNEL
from gateway.dataplane.replies import Reason

if TYPE_CHECKING:
    from gateway.dataplane.client import Client


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds.

    ``head_seconds`` also bounds the wait for a connection's first request. ``idle_seconds`` is for one that
    has been served; it must exceed the idle timeout of a load balancer in front. ``stall_seconds`` is for
    bytes that do not move while somebody should take or send them. ``linger_seconds`` is how long the rest of
    a refused upload is read and dropped. ``look_seconds`` is how often all this is looked at.
    """

    head_seconds: float = 10.0
    idle_seconds: float = 330.0
    connect_seconds: float = 10.0
    stall_seconds: float = 120.0
    answer_seconds: float = 600.0
    linger_seconds: float = 5.0
    look_seconds: float = 1.0


def sweep(client: "Client", now: float) -> None:
    """Close what has taken too long on this connection."""
    limits, waited = client.proxy.limits, now - client.stamp
    if client.state == DRAIN or client.transport.get_write_buffer_size():
        if client.stalled(now, limits.stall_seconds):
            client.abort()
        elif client.unsent():
            client.stamp = now
        elif client.state == DRAIN and waited > limits.linger_seconds:
            client.abort()
    elif client.state == HEAD:
        _head(client, waited)
    elif client.state == TUNNEL:
        if client.upstream and client.upstream.full and client.upstream.stalled(now, limits.stall_seconds):
            client.abort()
    else:
        _exchange(client, now, waited)


def _head(client: "Client", waited: float) -> None:
    limits = client.proxy.limits
    if client.intake.buffer and waited > limits.head_seconds:
        client.refuse_slow_head()
    elif client.proxy.closing or waited > (limits.idle_seconds if client.spare else limits.head_seconds):
        client.close()


def _exchange(client: "Client", now: float, waited: float) -> None:
    limits, upstream = client.proxy.limits, client.upstream
    if upstream is None:
        return
    if upstream.full:
        late = upstream.stalled(now, limits.stall_seconds)
    elif client.state == BODY:
        late = waited > limits.stall_seconds
    else:
        late = upstream.silent() and waited > limits.answer_seconds
    if late and upstream.silent():
        upstream.leave()
        client.fail(Reason.SILENT)
    elif late:
        client.abort()
