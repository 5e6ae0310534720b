"""Real clients through the egress proxy: HTTPS over CONNECT, with and without a list."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import httpx2
import pytest

from tests.gateway.egress_parts import TOKEN, egress_world

x509 = pytest.importorskip("cryptography.x509")


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A self-signed certificate for `host` and its key, as PEM files."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return public, private


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    await writer.drain()


@pytest.mark.parametrize("session", [None, ("example.com",)], ids=["public", "list"])
async def test_https_over_connect(tmp_path: Path, session: tuple[str, ...] | None) -> None:
    public, private = certificate(tmp_path, "example.com")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(public, private)
    trust = ssl.create_default_context(cafile=str(public))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(server_side)
        await page(reader, writer)

    async with egress_world(serve, session=session) as world:
        assert not isinstance(world.address, Path)
        proxy = f"http://sandbox:{TOKEN}@127.0.0.1:{world.address[1]}"
        async with httpx2.AsyncClient(proxy=proxy, verify=trust, trust_env=False) as client:
            answer = await client.get("https://example.com/")
            assert (answer.status_code, answer.text) == (200, "hello")
            if session:
                with pytest.raises(httpx2.ProxyError, match="403"):
                    await client.get("https://other.test/")


async def test_plain_http_by_absolute_form() -> None:
    async with egress_world(page) as world:
        assert not isinstance(world.address, Path)
        proxy = f"http://sandbox:{TOKEN}@127.0.0.1:{world.address[1]}"
        async with httpx2.AsyncClient(proxy=proxy, trust_env=False, verify=False) as client:
            assert (await client.get("http://example.com/")).text == "hello"
        assert world.asked == ["example.com"]
