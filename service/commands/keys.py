"""`keys`: create, list, revoke and rotate the API keys in the file of keys."""

import argparse
import json
import os
import sys
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from models.validation_problem import first_problem
from service.access.key_format import NewKey, new_key
from service.access.key_rates import burst_of
from service.access.keys_file import Keys, KeysFileError, StoredKey, locked_keys, now, read_keys, write_keys
from service.commands.parsers import KEYS_VARIABLE

Arguments = argparse.Namespace


def run_keys(arguments: Arguments) -> int:
    """Run one of the commands. Raises KeysFileError."""
    text = os.environ.get(KEYS_VARIABLE, "").strip()
    path = arguments.file or (Path(text).expanduser() if text else None)
    if path is None:
        raise KeysFileError(f"no file of keys: set {KEYS_VARIABLE}, or use --file")
    COMMANDS[arguments.keys_command](arguments, path)
    return 0


def create(arguments: Arguments, path: Path) -> None:
    """Add a key, and print it."""
    new = new_key()
    with locked_keys(path) as keys:
        if valid := [key for key in keys.with_name(arguments.name) if not key.expired(now())]:
            raise KeysFileError(f"there is a key {arguments.name!r} ({valid[0].id}); `keys rotate` replaces it")
        stored = stored_key(arguments, new)
        write_keys(path, keys.with_keys([*(key for key in keys.keys if key.name != stored.name), stored]))
    print_new_key(new, stored)


def stored_key(arguments: Arguments, new: NewKey) -> StoredKey:
    """Raises KeysFileError."""
    try:
        return StoredKey(
            name=arguments.name,
            id=new.id,
            sha256=new.digest.hex(),
            scopes=arguments.scope or ["predict"],
            models=arguments.models,
            rate=arguments.rate,
            burst=arguments.burst,
            created=now(),
            expires=arguments.expires,
        )
    except ValidationError as error:
        raise KeysFileError(first_problem(error)) from None


def rotate(arguments: Arguments, path: Path) -> None:
    """Add a second key with the same name and rights. The first key expires after the overlap."""
    new, moment = new_key(), now()
    end = moment + arguments.overlap
    with locked_keys(path) as keys:
        valid = [key for key in existing_keys(keys, arguments.name) if not key.expired(moment)]
        if len(valid) > 1:
            ids = ", ".join(key.id for key in valid)
            raise KeysFileError(f"two keys {arguments.name!r} are valid: {ids}; revoke one by its id first")
        if not valid:
            raise KeysFileError(f"the key {arguments.name!r} has expired; `keys create` creates another one")
        old = valid[0]
        ended = old.model_copy(update={"expires": min(old.expires or end, end)})
        expires = arguments.expires or old.expires
        changed = {"id": new.id, "sha256": new.digest.hex(), "created": moment, "expires": expires}
        stored = old.model_copy(update=changed)
        others = [key for key in keys.keys if key.name != old.name]
        write_keys(path, keys.with_keys([*others, ended, stored]))
    print_new_key(new, stored)
    print(f"note: the key {ended.id} is valid until {format_time(ended.expires)}", file=sys.stderr)


def revoke(arguments: Arguments, path: Path) -> None:
    """Remove the key with an id, or all keys of a name."""
    with locked_keys(path) as keys:
        one = [key for key in keys.keys if key.id == arguments.key]
        revoked = one or existing_keys(keys, arguments.key)
        write_keys(path, keys.with_keys([key for key in keys.keys if key not in revoked]))
    for key in revoked:
        print(f"revoked {key.name} ({key.id})")


def list_keys(arguments: Arguments, path: Path) -> None:
    """Print all keys without their hashes."""
    keys = read_keys(path).keys
    if arguments.json:
        print(json.dumps([key.model_dump(mode="json", exclude={"sha256"}) for key in keys], indent=1))
        return
    for key in keys:
        print(describe(key))
    if not keys:
        print("there are no keys")


def describe(key: StoredKey) -> str:
    """A line of text about a key."""
    models = "all models" if key.models is None else f"models {', '.join(key.models) or 'none'}"
    rate = "no limit" if key.rate is None else f"{key.rate:g}/s, burst {burst_of(key.rate, key.burst)}"
    end = "expired" if key.expired(now()) else f"until {format_time(key.expires)}" if key.expires else "no expiry"
    return "  ".join([key.name, key.id, "+".join(key.scopes), models, rate, end])


def existing_keys(keys: Keys, name: str) -> list[StoredKey]:
    """Raises KeysFileError if there is none."""
    found = keys.with_name(name)
    if not found:
        raise KeysFileError(f"there is no key {name!r}; `keys list` lists them")
    return found


def print_new_key(new: NewKey, stored: StoredKey) -> None:
    """Print a new key, alone on standard output so that a script can read it."""
    print(new.text, flush=True)
    print(f"created {describe(stored)}", file=sys.stderr)
    print("note: the key is not shown again; clients send it as Authorization: Bearer KEY", file=sys.stderr)


def format_time(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else ""


COMMANDS = {"create": create, "list": list_keys, "revoke": revoke, "rotate": rotate}
