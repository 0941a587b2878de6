"""`list`, `delete` and `prune`: show the content of the store, and delete versions."""

import argparse
import json
import re

from models.command_line import CommandParser
from training.errors import UsageError

PROGRAM = "python -m training"


def list_models(arguments: list[str], program: str) -> int:
    """List the bundled data sets and the stored versions with their metrics and aliases."""
    list_parser(program).parse_args(arguments)
    from models.text_tables import aligned
    from models.version_lifecycle import VersionStore
    from training.bundled import BUNDLED
    from training.evaluation import METRIC_LABELS

    versions = VersionStore.configured()
    state = versions.serving.read()
    print("Data sets: " + ", ".join(f"{name} ({bundled.title})" for name, bundled in BUNDLED.items()))
    rows = [["version", "target", "task", "metric", "aliases"]]
    for found in versions.all_versions().values():
        for stored in found:
            aliases = ", ".join(state.model(stored.name).aliases_of(stored.version))
            if versions.mirror and not stored.path.is_dir():
                rows.append([stored.tag, "", "", "not copied yet", aliases])
                continue
            try:
                schema = json.loads((stored.path / "features.json").read_text("utf-8"))
                metric = json.loads((stored.path / "metrics.json").read_text("utf-8"))["metric"]
                value = f"{METRIC_LABELS[metric['name']]} {metric['value']:.4g}"
                rows.append([stored.tag, schema["target"], schema["task"], value, aliases])
            except (OSError, ValueError, KeyError, TypeError):
                rows.append([stored.tag, "", "", "cannot be read", aliases])
    print(f"\nVersions in {versions.place}:" + ("" if len(rows) > 1 else " none; train a model: python -m training"))
    if len(rows) > 1:
        print(aligned(rows))
    return 0


def delete_models(arguments: list[str], program: str) -> int:
    """Delete versions (fares:2) or whole models (fares). A version with an alias, such as the champion, is kept."""
    from models.version_files import StoreError
    from models.version_lifecycle import VersionStore

    versions = VersionStore.configured()
    for tag in delete_parser(program).parse_args(arguments).tags:
        name, version = name_and_version(tag)
        try:
            if version is None:
                versions.delete_model(name)
            else:
                versions.delete(versions.find(name, version))
        except StoreError as error:
            raise UsageError(str(error)) from None
        print(f"deleted {tag}")
    return 0


def prune_models(arguments: list[str], program: str) -> int:
    """Delete all but the newest versions. Versions with an alias and the target of a rollback are kept."""
    from models.version_files import StoreError
    from models.version_lifecycle import VersionStore

    parsed = prune_parser(program).parse_args(arguments)
    versions = VersionStore.configured()
    try:
        for name in parsed.names or sorted(versions.all_versions()):
            for stored in versions.prune(name, parsed.keep):
                print(f"deleted {stored.tag}")
    except StoreError as error:
        raise UsageError(str(error)) from None
    return 0


def name_and_version(tag: str) -> tuple[str, int | None]:
    """The name and the version of a tag; None for all versions of a model."""
    parts = re.fullmatch(r"([^:]+)(?::([1-9]\d*))?", tag, re.ASCII)
    if not parts:
        raise UsageError(f"{tag!r} is neither a version such as fares:2 nor a model such as fares")
    return parts[1], int(parts[2]) if parts[2] else None


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of versions; it must be at least 1")
    return int(text)


def list_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    return CommandParser(f"{program} list", description=list_models.__doc__)


def delete_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(f"{program} delete", description=delete_models.__doc__)
    parser.add_argument("tags", nargs="+", metavar="NAME[:VERSION]", help="a version, or all versions of a model")
    return parser


def prune_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(f"{program} prune", description=prune_models.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these models (default: all)")
    parser.add_argument(
        "--keep", type=at_least_one, required=True, metavar="N", help="the number of newest versions to keep"
    )
    return parser
