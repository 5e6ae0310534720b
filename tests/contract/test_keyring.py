"""What is kept of API keys."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from opensessions.access.keyring import LIVE_PER_NAME, Key, Keyring, key_id
from opensessions.access.tokens import api_key, sha256
from opensessions.errors import Conflict
from tests.contract.engines import DynamoEngine, Engine
from tests.contract.samples import START

LATER = START + timedelta(minutes=1)


@pytest.fixture
def keyring(engine: Engine) -> Keyring:
    return engine.keyring()


def made(account: str = "acme", name: str = "ci", seconds: float = 0, **fields: object) -> Key:
    hashed = sha256(api_key())
    told = {"id": key_id(hashed), "hash": hashed, "account": account, "name": name}
    return Key.model_validate(told | {"created_at": START + timedelta(seconds=seconds)} | fields)


def test_a_key_is_found_by_its_hash_and_by_its_id(engine: Engine, keyring: Keyring) -> None:
    keys = [made(scope=scope, name=f"für {scope}") for scope in ("read", "write", "admin")]
    for key in keys:
        keyring.put(key)
    for key in keys:
        assert engine.keyring().find(key.hash) == engine.keyring().get(key.id) == key
    assert keyring.find("ab" * 32) is keyring.get("key_" + "0" * 32) is None


def test_an_account_has_its_own_keys_oldest_first(keyring: Keyring) -> None:
    keys = [made(name=str(number % 3), seconds=-number) for number in range(6)]
    for key in (*keys, made("acme2"), made("a")):
        keyring.put(key)
    assert list(keyring.of_account("acme")) == keys[::-1]
    assert list(keyring.of_account("acm")) == []


def test_a_name_has_two_good_keys_and_the_place_of_one_that_is_revoked_is_free(keyring: Keyring) -> None:
    old, new, newer = made(), made(), made()
    keyring.put(old)
    keyring.put(new)
    with pytest.raises(Conflict, match="2 keys named 'ci'"):
        keyring.put(newer)
    assert keyring.find(newer.hash) is None
    keyring.put(made(name="other"))
    keyring.put(made("globex"))
    keyring.revoke(old, LATER)
    keyring.put(newer)
    with pytest.raises(Conflict):
        keyring.put(made())
    assert [key.id for key in keyring.of_account("acme") if key.name == "ci"] == sorted([new.id, newer.id])


def test_of_many_put_at_once_two_are_kept(keyring: Keyring) -> None:
    def put(key: Key) -> Key | None:
        try:
            keyring.put(key)
        except Conflict:
            return None
        return key

    with ThreadPoolExecutor(8) as threads:
        kept = [key for key in threads.map(put, [made() for _ in range(12)]) if key]
    assert len(kept) == LIVE_PER_NAME
    assert {key.id for key in keyring.of_account("acme")} == {key.id for key in kept}


def test_a_revoked_key_is_known_still_and_is_revoked_once(keyring: Keyring) -> None:
    key, other = made(), made()
    keyring.put(key)
    keyring.put(other)
    keyring.revoke(key, LATER)
    keyring.revoke(key, LATER + timedelta(days=1))
    assert keyring.find(key.hash) == keyring.get(key.id) == key.model_copy(update={"revoked_at": LATER})
    assert list(keyring.of_account("acme")) == [other]


def test_the_last_use_is_the_latest(keyring: Keyring) -> None:
    key = made()
    keyring.put(key)
    for at in (LATER, START, LATER):
        keyring.used(key, at)
    assert keyring.find(key.hash) == key.model_copy(update={"last_used_at": LATER})
    keyring.used(made(), LATER)
    assert list(keyring.of_account("acme")) == [key.model_copy(update={"last_used_at": LATER})]


def test_no_key_is_stored(engine: Engine, keyring: Keyring) -> None:
    secret = api_key()
    keyring.put(made(hash=sha256(secret), id=key_id(sha256(secret))))
    assert secret not in str(engine.dump())
    assert sha256(secret)[:32] not in key_id(sha256(secret))


def test_a_key_of_an_older_table_is_good_until_it_is_revoked(engine: Engine, keyring: Keyring) -> None:
    if not isinstance(engine, DynamoEngine):
        pytest.skip("SQLite's keys are brought up to date with the file")
    item = {"pk": {"S": f"KEY#{'ab' * 32}"}, "sk": {"S": "META"}, "v": {"N": "1"}, "account": {"S": "acme"}}
    engine.client.put_item(TableName=engine.table, Item=item)
    key = keyring.find("ab" * 32)
    assert key and (key.account, key.scope, key.id, key.created_at) == (
        "acme",
        "admin",
        key_id("ab" * 32),
        None,
    )
    keyring.used(key, START)
    keyring.revoke(key, LATER)
    found = keyring.find("ab" * 32)
    assert found and (found.last_used_at, found.revoked_at) == (START, LATER)
