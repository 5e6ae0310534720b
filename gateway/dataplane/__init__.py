"""The preview data plane: an HTTP/1.1 reverse proxy between strangers, as asyncio protocols.

A ``Proxy`` takes connections and asks its resolver which ``Route`` a host is. A Route opens connections to
one port of one sandbox and says what a visitor gets when there is no answer. Heads are judged by llhttp and
rewritten (``rules``); bodies of known length and tunnels pass as they are. Sessions are not known here.
"""

from gateway.dataplane.client import Client
from gateway.dataplane.deadlines import Limits
from gateway.dataplane.heads import Request
from gateway.dataplane.proxy import Proxy, Resolve
from gateway.dataplane.replies import Reason, Reply, refusal, text
from gateway.dataplane.routes import Connect, ConnectRefused, Guard, Refused, Route, tcp, unix
from gateway.dataplane.rules import Names
from gateway.dataplane.side import Side
from gateway.dataplane.tuning import tune

__all__ = [
    "Client",
    "Connect",
    "ConnectRefused",
    "Guard",
    "Limits",
    "Names",
    "Proxy",
    "Reason",
    "Refused",
    "Reply",
    "Request",
    "Resolve",
    "Route",
    "Side",
    "refusal",
    "tcp",
    "text",
    "tune",
    "unix",
]
