"""`python -m infra.ops`"""

import argparse
import json
import sys
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from infra.context import ContextError
from infra.ops import choice, examination, keys, teardown
from infra.ops.account import Account, Deployment, OperatorError
from opensessions import tokens


def doctor(arguments: argparse.Namespace) -> int:
    return examination.run(Account(), arguments.context)


def key(arguments: argparse.Namespace) -> int:
    deployment = _deployment(arguments)
    if arguments.revoke:
        keys.revoke(deployment, arguments.revoke)
        print("Revoked.", file=sys.stderr)
        return 0
    made = keys.create(deployment, arguments.account)
    print(made)
    print(
        f"The key of {arguments.account}, shown this once. Revoke it with "
        f"`make key REVOKE={tokens.sha256(made)}`.",
        file=sys.stderr,
    )
    return 0


def outputs(arguments: argparse.Namespace) -> int:
    deployment = _deployment(arguments)
    if arguments.name:
        print(deployment.output(arguments.name))
    elif arguments.json:
        print(json.dumps(deployment.outputs, indent=2))
    else:
        width = max(map(len, deployment.outputs), default=0)
        for name, value in deployment.outputs.items():
            print(f"{name:<{width}}  {value}")
    return 0


def destroy(arguments: argparse.Namespace) -> int:
    return teardown.run(_deployment(arguments), arguments.context, sure=arguments.yes)


def _deployment(arguments: argparse.Namespace) -> Deployment:
    return Deployment(Account(), arguments.stack or choice.stack(arguments.context))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.ops", description="For who runs opensessions on AWS."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, about in {
        doctor: "what would stop a deployment, and what it will cost",
        key: "make an API key for an account, or revoke one",
        outputs: "what the stack says of itself",
        destroy: "end all sandboxes and take the stack down; data is kept",
    }.items():
        sub = commands.add_parser(command.__name__, help=about, description=f"{about[0].upper()}{about[1:]}.")
        sub.set_defaults(command=command)
        sub.add_argument("--stack", help="its name, if not opensessions")
        sub.add_argument(
            "-c", "--context", action="append", default=[], metavar="KEY=VALUE", help="as given to cdk"
        )
        if command is key:
            which = sub.add_mutually_exclusive_group(required=True)
            which.add_argument("--account", help="whose sessions the key opens; a new name is a new account")
            which.add_argument("--revoke", metavar="SHA256", help="of the key that is to open nothing more")
        if command is outputs:
            sub.add_argument("name", nargs="?", help="print the value of this one alone")
            sub.add_argument("--json", action="store_true", help="as a JSON object")
        if command is destroy:
            sub.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(words)
    try:
        status: int = arguments.command(arguments)
    except (OperatorError, ContextError) as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"AWS: {error}\n`make doctor` says what may be missing.", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
