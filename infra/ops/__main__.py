"""`python -m infra.ops`"""

import argparse
import json
import sys
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from infra.context import ContextError
from infra.ops import choice, examination, keys, teardown
from infra.ops.account import Account, Deployment, OperatorError


def doctor(arguments: argparse.Namespace) -> int:
    return examination.run(Account(), arguments.context)


def key(arguments: argparse.Namespace) -> int:
    deployment = _deployment(arguments)
    if arguments.revoke:
        gone = keys.revoke(deployment, arguments.revoke)
        print(f"Revoked {gone.id} ({gone.name}) of {gone.account}.", file=sys.stderr)
    elif arguments.list:
        print(keys.listed(deployment, arguments.account))
    else:
        secret, made = keys.create(deployment, arguments.account, arguments.name, arguments.scopes)
        print(secret)
        told = f"The key {made.name} of {made.account} ({','.join(made.scopes)}), shown this once."
        print(f"{told} Revoke it with `make key REVOKE={made.id}`.", file=sys.stderr)
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
        key: "make an API key for an account, list its keys, or revoke one",
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
            which.add_argument("--revoke", metavar="ID", help="of the key that is to open nothing more")
            sub.add_argument("--name", default="default", help="two keys of one name can be good at a time")
            sub.add_argument(
                "--scopes", default="admin", help="read, write or admin, each with those before it"
            )
            sub.add_argument("--list", action="store_true", help="the account's keys, instead of making one")
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
