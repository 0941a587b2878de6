"""`promote`, `rollback`, `alias`, `canary`, `shadow`: check the version, write `serving.json`, wait for the servers."""

import argparse
from collections.abc import Callable
from functools import partial

from models import serving_changes, trusted_keys
from models.aliases import CHAMPION
from models.serving_state import AutomaticRollback, ChangeRefused, ModelState, ServingState
from models.version_files import StoredVersion
from models.version_lifecycle import VersionStore
from service.commands import followers
from service.commands.descriptions import describe_change
from service.version_check import check_in_child

Arguments = argparse.Namespace
States = tuple[ServingState, ServingState]
CHECK_SECONDS = 120.0


def promote(arguments: Arguments, versions: VersionStore) -> int:
    """Make a version the champion."""
    stored = checked(arguments, versions)
    states = versions.promote(stored, by_person=True, reason=arguments.reason, expected=arguments.if_generation)
    return finish(stored.name, states, arguments, versions)


def rollback(arguments: Arguments, versions: VersionStore) -> int:
    """Return to the previous champion. The change is refused if the state has changed since the version was checked."""
    state, stored = versions.rollback_target(arguments.model)
    check_in_child(stored, timeout_s=CHECK_SECONDS, trusted_keys=trusted_keys.configured())
    expected = state.generation if arguments.if_generation is None else arguments.if_generation
    states = versions.rollback(stored, reason=arguments.reason, expected=expected)
    return finish(stored.name, states, arguments, versions)


def alias(arguments: Arguments, versions: VersionStore) -> int:
    """Set an alias of a version, or delete it."""
    _, version = arguments.tag
    if arguments.delete:
        return change(arguments, versions, partial(delete_alias_of, alias=arguments.alias, version=version))
    if arguments.alias == CHAMPION:
        return promote(arguments, versions)
    stored = checked(arguments, versions)
    return change(
        arguments, versions, partial(serving_changes.set_alias, alias=arguments.alias, version=version), stored
    )


def delete_alias_of(state: ModelState, alias: str, version: int) -> ModelState:
    """Delete an alias if it names this version. Raises ChangeRefused if it names another version."""
    named = state.aliases.get(alias)
    if named not in (None, version):
        raise ChangeRefused(f"the alias {alias!r} names version {named}, not {version}")
    return serving_changes.delete_alias(state, alias)


def canary(arguments: Arguments, versions: VersionStore) -> int:
    """Give a version a share of the requests."""
    stored = checked(arguments, versions)
    rollback = AutomaticRollback(after_rows=arguments.after_rows, feedback=not arguments.ignore_feedback)

    def apply(state: ModelState) -> ModelState:
        known = versions.with_champion(stored.name, state)
        chosen = None if arguments.no_rollback else rollback
        return serving_changes.start_canary(known, stored.version, arguments.percent, chosen)

    return change(arguments, versions, apply, stored)


def shadow(arguments: Arguments, versions: VersionStore) -> int:
    """Let a version predict a share of the rows, too."""
    stored = checked(arguments, versions)

    def apply(state: ModelState) -> ModelState:
        known = versions.with_champion(stored.name, state)
        return serving_changes.start_shadow(known, stored.version, arguments.share)

    return change(arguments, versions, apply, stored)


def checked(arguments: Arguments, versions: VersionStore) -> StoredVersion:
    """The version that a command names. Raises StoreError or TrustedKeysError if it cannot be served."""
    stored = versions.find(*arguments.tag)
    check_in_child(stored, timeout_s=CHECK_SECONDS, trusted_keys=trusted_keys.configured())
    return stored


def change(
    arguments: Arguments,
    versions: VersionStore,
    apply: Callable[[ModelState], ModelState],
    stored: StoredVersion | None = None,
) -> int:
    name = arguments.tag[0]
    states = versions.change(
        arguments.command, name, apply, stored=stored, reason=arguments.reason, expected=arguments.if_generation
    )
    return finish(name, states, arguments, versions)


def finish(name: str, states: States, arguments: Arguments, versions: VersionStore) -> int:
    """Print the change, wait until the servers follow, and print each server's generation. Returns the exit code."""
    before, after = states
    print(describe_change(name, before, after))
    folder = versions.serving.folder
    servers, follow = followers.wait_for_servers(folder, after.generation, arguments.wait)
    for line in followers.describe_servers(servers, versions.mirror):
        print(line)
    if not follow:
        print(f"note: not all servers serve generation {after.generation} after {arguments.wait:g} s; they keep trying")
    return 0 if follow else 1
