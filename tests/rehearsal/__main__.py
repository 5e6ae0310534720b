"""`make rehearse`: the deployed system on this machine, to be used by hand until Ctrl-C; then the operator's
command takes it down.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.images.podman import Unbuilt
from tests.rehearsal.deployment import Failed
from tests.rehearsal.full import FullRehearsal, build
from tests.rehearsal.rehearsal import Rehearsal

_BODY = '{"prompt": "Build a todo app", "user_id": "me"}'
_HEADERS = '-H "X-API-Key: $KEY" -H "Content-Type: application/json"'


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.rehearsal", description=__doc__)
    parser.add_argument("-c", "--context", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--full", action="store_true", help="with containers of the real images, as root")
    told = parser.parse_args()
    pairs = dict(pair.split("=", 1) for pair in told.context)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        try:
            return _rehearse(Path(folder), pairs, told.full)
        except KeyboardInterrupt:
            print("\nNothing is left running.")
        except (Failed, Unbuilt) as failed:
            print(failed, file=sys.stderr)
    return 1


def _rehearse(folder: Path, context: dict[str, str], full: bool) -> int:
    if full:
        print("Building the images, unless they are there: minutes, the first time…", flush=True)
        build()
    print("Deploying the stack to an emulator of AWS on this machine: half a minute…", flush=True)
    system = FullRehearsal(folder, **context) if full else Rehearsal(folder, **context)
    try:
        print(_told(system, folder), flush=True)
        signal.pause()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\nTaking it down…", flush=True)
        if system.deployment.status():
            said = system.deployment.operate("destroy", "--yes").splitlines()
            print("\n".join(line for line in said if " | " not in line))  # CloudFormation's progress
    finally:
        system.stop()
    steps = ", ".join(f"{step} {seconds}" for step, seconds in system.deployment.times.items())
    print(f"Nothing is left running. Seconds that each step took: {steps}.")
    return 0


_QUICK = """\
The whole system is deployed: the real stack in an emulator of AWS, its functions and two gateways as
processes under their roles, sandboxes as walled processes, and a stand-in for the model that builds small
apps. Nothing of it is in a cloud or costs anything."""
_FULL = """\
The whole system is deployed: the real stack in an emulator of AWS, its functions as processes under their
roles; the gateway and sandboxes as containers of the real images, in a network where packets obey the
stack's security groups; and a stand-in for the model that builds small apps. Nothing of it is in a cloud or
costs anything."""


def _told(system: Rehearsal | FullRehearsal, folder: Path) -> str:
    """What it is and how to use it; the operator's environment is put into a file for it."""
    shell = folder / "operator"
    told = {**system.deployment.operator, "API": system.url, "KEY": system.key}
    lines = [
        "unset AWS_PROFILE AWS_SESSION_TOKEN",
        *(f"export {name}='{value}'" for name, value in told.items()),
    ]
    shell.write_text("\n".join(lines) + "\n")
    port = system.front.rsplit(":", 1)[1]
    named = system.preview_url("<sandboxId>").partition("://")[2]
    name, _, path = named.partition("/")
    label = name.split(".")[0] if name.startswith("<") else "previews"
    preview = f"http://{label}.localhost:{port}/{path}" if named else "none, as previews=off"
    return f"""
{_FULL if isinstance(system, FullRehearsal) else _QUICK} In another terminal, in this folder:

  . {shell}    # from here on, that shell means this deployment

  curl -s $API/v1/sessions {_HEADERS} -d '{_BODY}'
  curl -N $API/v1/sessions/$ID/events -H "X-API-Key: $KEY"    # ID=session_… from the answer

A preview, for browsers and curl: {preview}
As operator: make outputs · make key ACCOUNT=acme · make doctor · make deploy · make destroy
Logs: {folder}/*.log

Ctrl-C takes it down. It took {system.deployment.times["all"]:.0f} s."""


if __name__ == "__main__":
    sys.exit(main())
