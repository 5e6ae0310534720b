"""The internet, as functions see it: some names with public addresses, whose port 443 is here.

`internet.json` in the emulator's folder says which, `{name: {"address", "port"}}`; `authority.pem` beside it
is whom functions trust. Runs inside the functions' own processes, before anything else.
"""


def install(folder: str) -> None:
    import json
    import os
    import socket
    from pathlib import Path
    from typing import Any

    names, authority = Path(folder, "internet.json"), Path(folder, "authority.pem")
    resolve: Any = socket.getaddrinfo
    connect: Any = socket.create_connection
    if authority.exists():
        os.environ["SSL_CERT_FILE"] = str(authority)

    def known() -> dict[str, Any]:
        return dict(json.loads(names.read_text())) if names.exists() else {}

    def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        found = known().get(str(host).removesuffix("."))
        if found is None:
            return resolve(host, port, *args, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (found["address"], port or 0))]

    def create_connection(address: Any, *args: Any, **more: Any) -> Any:
        for found in known().values():
            if address == (found["address"], 443):
                address = ("127.0.0.1", found["port"])
        return connect(address, *args, **more)

    socket.getaddrinfo, socket.create_connection = getaddrinfo, create_connection
