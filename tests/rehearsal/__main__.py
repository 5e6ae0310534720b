"""`python -m tests.rehearsal`: the deployed system on this machine, to be used by hand until Ctrl-C; then the
operator's command takes it down.
"""

import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests.rehearsal.rehearsal import Rehearsal

_BODY = '{"prompt": "Build a todo app", "user_id": "me"}'


def main() -> int:
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        print("Deploying the stack to an emulator of AWS on this machine…", flush=True)
        system = Rehearsal(Path(folder))
        try:
            _tell(system)
            over.wait()
            print(system.deployment.operate("destroy", "--yes").splitlines()[-1])
        finally:
            system.stop()
        print(f"Seconds: {system.deployment.times}")
    return 0


def _tell(system: Rehearsal) -> None:
    print(f"Seconds: {system.deployment.times}")
    print(f"The API, with two gateways behind it: {system.url}\nA key: {system.key}\n")
    json = "-H 'Content-Type: application/json'"
    print(f"curl -H 'X-API-Key: {system.key}' {json} -d '{_BODY}' {system.url}/v1/sessions")
    print(f"curl -N -H 'X-API-Key: {system.key}' {system.url}/v1/sessions/<id>/events")
    print(f"curl -H 'Host: <previewUrl without https://>' {system.front}/")
    print("\nCtrl-C takes it down.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
