"""Runs in a sandbox: sends bytes and tells what came back.

Reads a JSON list of [address, bytes as Latin-1], with `host:port` or a path as the address; prints a JSON
list of [answer as Latin-1, seconds until the other side closed or 5 were over].
"""

import json
import socket
import sys
import time


def ask(address: str, text: str) -> tuple[str, float]:
    begun, answer = time.monotonic(), b""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET if host else socket.AF_UNIX) as each:
        each.settimeout(5)
        each.connect((host, int(port)) if host else address)
        try:
            each.sendall(text.encode("latin-1"))
            while part := each.recv(65536):
                answer += part
        except OSError:
            pass
    return answer.decode("latin-1"), time.monotonic() - begun


print(json.dumps([ask(address, text) for address, text in json.load(sys.stdin)]))
