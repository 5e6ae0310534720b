"""Sealing a secret by a key: HMAC-SHA256 in counter mode, and another one over the result.

The standard library has no cipher. A pseudorandom function in counter mode is one, and a MAC over what came
of it, by a key of its own, lets no change pass.
"""

import hashlib
import hmac
import secrets

_NONCE = _TAG = 32


def sealed(key: bytes, name: bytes, plain: bytes) -> bytes:
    """What `opened` gives back, for the same key and name alone. Never the same twice."""
    nonce = secrets.token_bytes(_NONCE)
    hidden = _crossed(_derived(key, b"hide", nonce), plain)
    return nonce + hidden + _tag(key, name, nonce + hidden)


def opened(key: bytes, name: bytes, data: bytes) -> bytes | None:
    """None for what was not sealed so."""
    body, tag = data[:-_TAG], data[-_TAG:]
    if len(body) < _NONCE or not hmac.compare_digest(tag, _tag(key, name, body)):
        return None
    return _crossed(_derived(key, b"hide", body[:_NONCE]), body[_NONCE:])


def _derived(key: bytes, *words: bytes) -> bytes:
    return hmac.digest(key, b"\0".join((b"opensessions sealing", *words)), hashlib.sha256)


def _tag(key: bytes, name: bytes, body: bytes) -> bytes:
    named = len(name).to_bytes(8, "big") + name + body
    return hmac.digest(_derived(key, b"tag"), named, hashlib.sha256)


def _crossed(key: bytes, data: bytes) -> bytes:
    blocks = range(-(-len(data) // 32))
    stream = b"".join(hmac.digest(key, block.to_bytes(8, "big"), hashlib.sha256) for block in blocks)
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))
