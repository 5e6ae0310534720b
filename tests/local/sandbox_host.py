"""A small server that holds sandboxes: a process of its own, so that a test can run it as another user and
kill it. Orders come as lines of JSON on standard input, answers and news go out the same way.
"""

import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from opensessions.errors import OpenSessionsError
from opensessions.local.sandboxes import Limits, LocalSandboxes, Places
from opensessions.ports import Launch

# Stands in for the worker: whoever comes through the door sends a shell script and gets its output.
AGENT = """
import ctypes, json, os, socket, subprocess, sys, threading
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE, as the worker does
token = json.loads(sys.stdin.readline())["token"]
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(3)), daemon=True).start()
door = socket.socket(fileno=int(os.environ["DOOR_FD"]))

def serve(visitor):
    with visitor, visitor.makefile("rb") as stream:
        script = stream.read().decode()
        if script == "token":
            return visitor.sendall(b"0\\n" + token.encode())
        if script.startswith("say "):
            print(script.removeprefix("say "), file=sys.stderr, flush=True)
            return visitor.sendall(b"0\\n")
        done = subprocess.run(["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=-1, stderr=-2)
        visitor.sendall(b"%d\\n" % done.returncode + done.stdout)

while True:
    threading.Thread(target=serve, args=door.accept()[:1]).start()
"""


def main() -> None:
    config = json.loads(sys.stdin.readline())
    folder, lock = Path(config["folder"]), Lock()
    for name in ("gateway.sock", "egress.sock"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / name))
        listener.listen()
        Thread(target=_greet, args=(listener, name), daemon=True).start()

    def say(**words: Any) -> None:
        with lock:
            print(json.dumps(words), flush=True)

    places = Places(
        run=folder / "run",
        workspaces=folder / "workspaces",
        gateway=folder / "gateway.sock",
        egress=folder / "egress.sock",
        venv=Path(config["venv"]),
        code={"tests/code.py": Path(__file__)},
    )
    command = config["command"] or ["/opt/venv/bin/python", "-I", "-c", AGENT]
    sandboxes = LocalSandboxes(
        places,
        lambda *news: say(stopped=news),
        command=command,
        limits=Limits(**config["limits"]),
    )
    say(ready=os.getpid())
    for line in sys.stdin:
        order = json.loads(line)
        try:
            say(answer=_obey(sandboxes, **order))
        except (OpenSessionsError, OSError) as error:
            say(error=f"{type(error).__name__}: {error}")
    sandboxes.close()


def _obey(sandboxes: LocalSandboxes, call: str, arguments: list[Any]) -> Any:
    if call == "launch":
        return sandboxes.launch(Launch(*arguments))
    if call == "launch_from_a_thread_that_ends":
        thread = Thread(target=sandboxes.launch, args=(Launch(*arguments),))
        thread.start()
        return thread.join()
    return getattr(sandboxes, call)(*arguments)


def _greet(listener: socket.socket, name: str) -> None:
    while True:
        visitor, _ = listener.accept()
        with visitor, suppress(OSError):
            visitor.sendall(name.encode())


if __name__ == "__main__":
    main()
