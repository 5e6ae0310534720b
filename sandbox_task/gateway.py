"""The one address that a sandbox knows."""

import asyncio
import random
import ssl
from dataclasses import dataclass

import httpx2


class Revoked(Exception):
    """The gateway no longer knows this sandbox: it is over."""


@dataclass(frozen=True)
class Backoff:
    """Pauses between tries, in seconds: doubling from `first` up to `most`, half of each at random, so that
    many sandboxes do not come back at once.
    """

    first: float = 0.2
    most: float = 10.0

    def pause(self, tries: int) -> float:
        whole: float = min(self.most, self.first * 2.0 ** min(tries, 30))
        return whole * random.uniform(0.5, 1.0)

    async def sleep(self, tries: int, at_least: float = 0.0) -> None:
        await asyncio.sleep(max(at_least, self.pause(tries)))


PATIENT = Backoff()


def unix_path(url: str) -> str | None:
    """The socket's path if `url` is `unix:<path>`."""
    return url.removeprefix("unix:") if url.startswith("unix:") else None


def client(url: str, token: str) -> httpx2.AsyncClient:
    """An HTTP client of the gateway that shows the worker's token; no proxy of the environment is used."""
    path = unix_path(url)
    # The default context reads all of the machine's certificates, which takes 60 ms and serves no one here.
    trusting_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.AsyncClient(
        base_url="http://gateway" if path else url,
        transport=httpx2.AsyncHTTPTransport(uds=path, verify=trusting_nobody) if path else None,
        headers={"Authorization": f"Bearer {token}"},
        timeout=httpx2.Timeout(30.0),
        trust_env=False,
    )


def refuse(status: int) -> None:
    """Raise Revoked for the answers that mean the end."""
    if status in (401, 410):
        raise Revoked(f"The gateway answered {status}.")
