"""`python -m training`: train, inspect, import, list, delete, prune, report.

Exit codes: 0 success, 1 failure, 2 wrong usage or unusable data, 3 an alarm of `report`.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models import trusted_keys
from models.command_line import CommandParser, missing_library
from models.serving_state import ServingStateError
from models.signals import interrupt_on_signals
from training import store_commands
from training.arguments import add_options, options_from, parse_seconds
from training.common_options import add_debug_option, add_promotion_mode, add_promotion_options, add_signing_option
from training.config import DataOptions, FitOptions
from training.errors import UsageError
from training.importing.import_command import import_file, import_parser

if TYPE_CHECKING:  # the extra `signing` installs cryptography
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PROGRAM = "python -m training"
DEFAULTS = ("housing", "income", "penguins")
NUMPY_BY_DEFAULT = ("penguins",)  # one of the default models uses the NumPy network


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run a command line and return its exit code. Help texts and errors call the command `program`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands = {
        "inspect": inspect_table,
        "import": import_keras_model,
        "list": store_commands.list_models,
        "delete": store_commands.delete_models,
        "prune": store_commands.prune_models,
        "report": report_files,
    }
    command = commands.get(arguments[0], train) if arguments else train
    try:
        with interrupt_on_signals():
            return command(arguments[command is not train :], program)
    except UsageError as error:
        if "--debug" in arguments:
            traceback.print_exception(error)
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ServingStateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: nothing more was stored", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, MemoryError) as error:
        print(f"error: {' '.join(str(error).split()) or 'not enough memory'}", file=sys.stderr)
        return 1


def train(arguments: list[str], program: str) -> int:
    """Train on bundled data sets, or on the user's own table, and store a version for each."""
    parsed = train_parser(program).parse_args(arguments)
    data_options, fit_options = options_from(DataOptions, parsed), options_from(FitOptions, parsed)
    if parsed.names and data_options.data:
        raise UsageError(f"use data sets by name ({', '.join(parsed.names)}) or a table with --data, not both")
    check_data_flag(data_options, parsed)
    if parsed.judge_on and parsed.promotion != "if-better":
        raise UsageError("--judge-on needs --promote-if-better")
    if parsed.judge_on and not data_options.data and len(parsed.names) != 1:
        raise UsageError("--judge-on is for one model, not several")
    if not parsed.names and not data_options.data:
        flag = next((flag for flag in ("target", "name", "schema") if flag in parsed), None)
        if flag:
            raise UsageError(f"--{flag} needs a table: --data is missing")
    if parsed.if_empty and store_has_models():
        return 0
    signing_key = signing_key_of(parsed.sign)
    names = parsed.names or ([] if data_options.data else list(DEFAULTS))
    if len(names) > 1 and (data_options.name or data_options.target):
        raise UsageError("--name and --target are for one model, not several")
    quiet_tensorflow()
    data_options = with_captured_target(data_options)
    from models.network.network import DivergenceError
    from models.version_files import StoreError
    from training import promotion
    from training.bundled import bundled_options

    options = promotion.PromotionOptions(parsed.promotion, parsed.judge_on)
    runs = [(bundled_options(name, data_options), with_framework(name, parsed, fit_options)) for name in names]
    stored = []
    try:
        for table, network in runs or [(data_options, fit_options)]:
            version = promotion.run(
                table,
                network,
                options,
                baselines=not parsed.no_baselines,
                tune=parsed.tune,
                engine=parsed.engine,
                signing_key=signing_key,
            )
            stored.append(version)
    except DivergenceError as error:
        print(
            f"error: the loss became infinite or NaN in epoch {error.epoch}: "
            "try a --learning-rate ten times smaller, or --clip-norm 1",
            file=sys.stderr,
        )
        return 1
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(next_steps([version.tag for version in stored]))
    return 0


def with_captured_target(options: DataOptions) -> DataOptions:
    """Return the options with the model and the target that captured files declare."""
    if not options.data or (options.target and options.name):
        return options
    from training import captured_data

    return captured_data.captured_options(options) if captured_data.is_captured(options.data) else options


def check_data_flag(options: DataOptions, parsed: argparse.Namespace) -> None:
    if "data" in parsed and not options.data:
        raise UsageError("--data is missing: its value is empty; name a CSV or Parquet file, or - for standard input")
    captured = any(sign in options.data for sign in ("*", "?", "[", "://"))  # captured files contain the target's name
    if options.data and not (options.target or options.schema or captured):
        raise UsageError("--data needs --target, the column to predict, or --schema, which names it")


def with_framework(name: str, parsed: argparse.Namespace, options: FitOptions) -> FitOptions:
    """The options for a model: without --framework, the default models in NUMPY_BY_DEFAULT use NumPy."""
    if not parsed.names and name in NUMPY_BY_DEFAULT and "framework" not in parsed:
        return replace(options, framework="numpy")
    return options


def signing_key_of(path: str) -> "EllipticCurvePrivateKey | None":
    """The private key of --sign. Raises UsageError if it is unusable or not trusted in this environment."""
    try:
        trusted = trusted_keys.read(paths) if (paths := trusted_keys.configured()) else {}
        if not path:
            key = None
        else:
            from models import signature

            key = signature.read_private_key(Path(path))
    except ModuleNotFoundError as error:
        raise UsageError(missing_library("cryptography", "signing")) from error
    except ValueError as error:  # the file is not a supported key
        raise UsageError(str(error)) from error
    if trusted and (key is None or signature.key_hash(key.public_key()) not in trusted):
        raise UsageError(
            f"{trusted_keys.VARIABLE} is set, so servers refuse versions that are not signed by one of its keys: "
            "name the private key with --sign"
        )
    return key


def store_has_models() -> bool:
    from models import store

    return bool(store.versions()[0])


def next_steps(tags: list[str]) -> str:
    plural = "them" if len(tags) > 1 else "it"
    return (
        f"\nStored {', '.join(tags)}. Serve {plural} with `make serve` or `tabserve serve`; "
        "a running server of this store needs no restart. `tabserve list` shows all versions."
    )


def report_files(arguments: list[str], program: str) -> int:
    """Compare the columns of two files."""
    from training import file_report

    return file_report.report_files(report_parser(program).parse_args(arguments))


def inspect_table(arguments: list[str], program: str) -> int:
    """Show the inferred type of each column of a table, and the reason."""
    parsed = inspect_parser(program).parse_args(arguments)
    options = options_from(DataOptions, parsed)
    check_data_flag(options, parsed)
    if len(parsed.names) + bool(options.data) != 1:
        raise UsageError("inspect reads one data set by name, or a table with --data and --target")
    from training import dataset_report
    from training.build_dataset import load_dataset
    from training.bundled import bundled_options

    options = bundled_options(parsed.names[0], options) if parsed.names else with_captured_target(options)
    dataset = load_dataset(options)
    print(dataset_report.report(dataset))
    if parsed.out:
        dataset_report.write_schema(dataset, parsed.out)
        print(f"wrote {parsed.out}; edit it and train with --schema {parsed.out}")
    return 0


def import_keras_model(arguments: list[str], program: str) -> int:
    """Store a Keras model that was trained elsewhere."""
    parsed = import_parser(program).parse_args(arguments)
    quiet_tensorflow()
    return import_file(parsed, signing_key_of(parsed.sign))


def train_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        program,
        description="Train on bundled data sets by name (default: housing, income, penguins), or on your own table.",
        epilog="also: python -m training inspect|import|list|delete|prune|report --help",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundled data sets: see `python -m training list`")
    add_options(parser.add_argument_group("the table"), DataOptions)
    add_options(parser.add_argument_group("the network and its training"), FitOptions)
    parser.add_argument(
        "--tune",
        type=parse_seconds,
        metavar="TIME",
        help="search for the settings with the smallest validation loss for this time (20m, 90s, 1h30m), then train "
        "with them; settings that flags set are not changed. After an interruption the same command continues",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where the trials of the recipe and of --tune are trained: one after the other in this process, or "
        "several at once on a Ray cluster (RAY_ADDRESS; extra ray) (default: local)",
    )
    add_debug_option(parser)
    parser.add_argument("--if-empty", action="store_true", help="do nothing if the store already contains a model")
    parser.add_argument(
        "--no-baselines", action="store_true", help="do not fit a linear model and boosted trees for comparison"
    )
    add_signing_option(parser)
    add_comparison_options(parser.add_argument_group("what is served"))
    return parser


def add_comparison_options(group: "argparse._ArgumentGroup") -> None:
    """Add --promote, --no-promote, --promote-if-better and --judge-on."""
    add_promotion_mode(
        add_promotion_options(group),
        "--promote-if-better",
        "if-better",
        "serve the new version if it is not worse than the champion on at least 200 rows that neither of them was "
        "trained on; else make it the challenger. The exit code is 0 in both cases",
    )
    group.add_argument(
        "--judge-on",
        default="",
        metavar="FILE",
        help="a file as for --data with the rows for --promote-if-better; they must not have been used in training",
    )


def inspect_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(f"{program} inspect", description=inspect_table.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a bundled data set")
    add_options(parser, DataOptions)
    add_debug_option(parser)
    parser.add_argument("--out", metavar="FILE", help="write features.json, which you can edit and use with --schema")
    return parser


def report_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        f"{program} report",
        description="Compare the columns of two files and report those that differ by more than chance explains.",
        epilog="Exit codes: 0 no alarm, 1 failure, 2 wrong usage or unusable data, 3 an alarm.",
    )
    parser.add_argument("old", metavar="OLD", help="a file as for --data")
    parser.add_argument("new", metavar="NEW", help="a file with the same columns")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_debug_option(parser)
    return parser


PARSERS = {
    "": train_parser,
    "inspect": inspect_parser,
    "import": import_parser,
    "list": store_commands.list_parser,
    "delete": store_commands.delete_parser,
    "prune": store_commands.prune_parser,
    "report": report_parser,
}
"""The parser of each subcommand; tabserve/ uses these parsers for shell completion."""


def quiet_tensorflow() -> None:
    """Suppress the log messages that TensorFlow prints at start-up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN logs twice and is not faster here


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
