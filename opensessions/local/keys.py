"""`python -m opensessions.local.keys`: API keys of the server on this machine, also while it runs."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from opensessions.access import tokens
from opensessions.access.keyring import widest
from opensessions.access.keys import Keys, line
from opensessions.errors import Conflict, OpenSessionsError
from opensessions.local.audit import SqliteAudit
from opensessions.local.database import Database
from opensessions.local.keyring import SqliteKeyring
from opensessions.local.settings import Settings, SettingsError, from_environment, kept_secret

ACCOUNT = "local"
"""Whose sessions the server's own key opens."""


OWN = "server"
"""The name of that key."""


def own_key(settings: Settings, keyring: SqliteKeyring, keys: Keys) -> str:
    """The key that opens `ACCOUNT`: the one in the settings, or else the one of this data directory; a new
    one if that was revoked. One that was it before is good no more, until it is it again. Raises
    SettingsError.
    """
    file = settings.data_dir / "api.key"
    secret = settings.api_key or kept_secret(file, tokens.api_key)
    for key in keyring.of_account(ACCOUNT):
        if key.name == OWN and key.hash != tokens.sha256(secret):
            keys.revoke(key.id)
            keyring.drop(key)
    try:
        keys.adopt(secret, ACCOUNT, OWN)
    except Conflict:
        if settings.api_key:
            raise SettingsError("OPENSESSIONS_API_KEY was revoked; choose another key.") from None
        file.unlink()
        secret = kept_secret(file, tokens.api_key)
        keys.adopt(secret, ACCOUNT, OWN)
    return secret


def create(keys: Keys, arguments: argparse.Namespace) -> None:
    secret, key = keys.create(arguments.account, arguments.name, widest(arguments.scopes))
    print(secret)
    print(f"{key.id} of {key.account}, shown this once.", file=sys.stderr)


def listed(keys: Keys, arguments: argparse.Namespace) -> None:
    for key in keys.list(arguments.account):
        print(line(key))


def revoke(keys: Keys, arguments: argparse.Namespace) -> None:
    key = keys.revoke(arguments.key)
    print(f"Revoked {key.id} ({key.name}) of {key.account}.", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m opensessions.local.keys", description="API keys.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    making = commands.add_parser("create", help="a new key, on standard output")
    making.add_argument("--name", default="default", help="two keys of one name can be good at a time")
    making.add_argument("--scopes", default="admin", help="read, write or admin, each with those before it")
    listing = commands.add_parser("list", help="the keys that are good")
    for sub, command in ((making, create), (listing, listed)):
        sub.add_argument("--account", default=ACCOUNT, help=f"whose; {ACCOUNT} unless said")
        sub.set_defaults(command=command)
    revoking = commands.add_parser("revoke", help="a key is good for nothing from now on")
    revoking.add_argument("key", help="its id, or its SHA-256")
    revoking.set_defaults(command=revoke)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 with a sentence on standard error."""
    arguments = _parser().parse_args(words)
    try:
        settings = from_environment()
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = Database(settings.data_dir / "sessions.db")
        try:
            keys = Keys(SqliteKeyring(database), SqliteAudit(database), lambda: datetime.now(UTC))
            arguments.command(keys, arguments)
        finally:
            database.close()
    except (SettingsError, OpenSessionsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
