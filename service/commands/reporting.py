"""`status` and `audit`: show the served versions, their servers, and the changes."""

import argparse
import sys

from models import server_registration
from models.text import counted
from models.version_lifecycle import VersionStore
from service.commands.descriptions import describe_entry, describe_model
from service.commands.followers import describe_servers

Arguments = argparse.Namespace


def status(arguments: Arguments, versions: VersionStore) -> int:
    """Show the state of the store's models, and of the servers that follow it."""
    state = versions.serving.read()
    stored = {name: [found.version for found in own] for name, own in versions.all_versions().items()}
    names = sorted({*stored, *state.models})
    unknown = [name for name in arguments.models if name not in names]
    if unknown:
        versions.versions(unknown[0])  # raises StoreError with the nearest name
    print(f"{versions.serving.place}: generation {state.generation}")
    for name in arguments.models or names:
        print(describe_model(name, state.model(name), stored.get(name, [])))
    for line in describe_servers(server_registration.read(versions.serving.folder), versions.mirror):
        print(line)
    return 0


def audit(arguments: Arguments, versions: VersionStore) -> int:
    """List the changes, or check the chain of their hashes."""
    if not arguments.verify:
        for entry in versions.serving.entries():
            print(describe_entry(entry))
        return 0
    report = versions.serving.verify()
    for note in report.notes:
        print(f"note: {note}")
    for problem in report.problems:
        print(f"error: {problem}", file=sys.stderr)
    if report.problems:
        return 1
    print(f"{versions.serving.audit_place}: {counted(report.lines, 'line')}, none was altered or removed")
    return 0
