"""An app with a page and a socket, as previews show them: `python3 -I talking.py PORT`.

It remembers what was asked of it, and tells at `/seen`.
"""

import asyncio
import base64
import hashlib
import json
import sys

PAGE = b"""<!doctype html><title>app</title><h1>app</h1><script>
const tell = (what) => parent.postMessage(what, "*");
const socket = new WebSocket(location.origin.replace("http", "ws") + "/hmr");
socket.onmessage = (message) => tell("socket said " + message.data);
socket.onclose = () => tell("socket closed");
tell("page " + location.pathname + location.search);
</script>"""
HOSTILE = b"""Set-Cookie: evil=1; Domain=preview.localhost; Path=/
Set-Cookie: __Host-os_pass=evil; Secure; Path=/
Clear-Site-Data: "*"
Alt-Svc: h2=":443"
NEL: {"report_to": "x", "max_age": 9}
""".replace(b"\n", b"\r\n")
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
seen: list[dict[str, str]] = []


def answer(path: str) -> tuple[bytes, bytes, bytes]:
    """Media type, body and further headers."""
    if path == "/seen":
        return b"application/json", json.dumps(seen).encode(), b""
    if path == "/sw.js":
        return b"text/javascript", b"", b""
    return b"text/html", PAGE, HOSTILE if path == "/hostile" else b""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, target, _ = first.split(" ")
    if target != "/seen":
        seen.append({"method": method, "target": target, "cookie": fields.get("cookie", "")})
    if key := fields.get("sec-websocket-key"):
        accept = base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81\x02hi")
        await reader.read()
    else:
        kind, body, more = answer(target)
        about = b"Content-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n" % (kind, len(body))
        writer.write(b"HTTP/1.1 200 OK\r\n" + about + more + b"\r\n" + body)
    await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
