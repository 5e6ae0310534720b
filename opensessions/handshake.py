"""How a gateway and a sandbox's door prove themselves to each other. Part of the wire contract; stdlib alone.

Both hold `door_key(master, sandbox_id)`; neither sends it. For each connection:

1. gateway → door: `CONNECT 127.0.0.1:<port> HTTP/1.1` with `Door-Challenge: <nonce g>`
2. door → gateway: `407` with `Door-Challenge: <nonce d>` and `Door-Proof: proof(key, "door", g, d, port)`
3. gateway → door, if the proof holds: the same `CONNECT` with `Door-Proof: proof(key, "gateway", g, d, port)`
4. door → gateway: `200`, then blind bytes; `403` the proof is wrong, `502` nothing listens on the port.

Port `FILES_PORT` is the sandbox's own service for the workspace's files; all others are apps', from 1024 on.

Whoever cannot prove itself is hung up on: an address that was reused for another tenant's sandbox is found
out before a byte of a visitor's request is sent. Nonces are 32 hex characters, fresh for each connection.
"""

import hashlib
import hmac
from typing import Literal

FILES_PORT = 1


def door_key(master: bytes, sandbox_id: str) -> str:
    """The key of one sandbox's door, in hex. The master key never leaves the gateway."""
    return hmac.new(master, b"door:" + sandbox_id.encode(), hashlib.sha256).hexdigest()


def proof(key: str, side: Literal["door", "gateway"], g: str, d: str, port: int) -> str:
    """What `side` sends to show that it holds the key; bound to both nonces and the port."""
    text = f"{side}\0{g}\0{d}\0{port}"
    return hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).hexdigest()


def proven(given: str, key: str, side: Literal["door", "gateway"], g: str, d: str, port: int) -> bool:
    """Whether `given` is the other side's proof; compared in constant time."""
    return hmac.compare_digest(given.encode(), proof(key, side, g, d, port).encode())


def derived_token(worker_token: str, kind: Literal["model", "egress", "boot"]) -> str:
    """A token that is good for one purpose alone, made from the worker's by both the service and the worker.

    It keeps the worker token's readable part, `osw_<sandbox hex>_`, so that the service can find the sandbox.
    """
    head, secret = worker_token.rsplit("_", 1)
    return f"{head}_{hmac.new(secret.encode(), kind.encode(), hashlib.sha256).hexdigest()}"
