"""`python -m training`: train, inspect, list, delete. Exit codes: 0 done, 1 the work failed, 2 wrong usage or data."""

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from training.config import DataOptions, FitOptions, names_in
from training.errors import UsageError

DEFAULTS = ("housing", "income", "penguins")
NUMPY_BY_DEFAULT = ("penguins",)  # of the default models, one is trained by the network one can read
Options = TypeVar("Options", DataOptions, FitOptions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and say what its exit code is."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"inspect": inspect_table, "list": list_models, "delete": delete_models}
    command = commands.get(arguments[0], train) if arguments else train
    try:
        with ended_like_ctrl_c():
            return command(arguments[command is not train :])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: nothing more was stored", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read along has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, MemoryError) as error:
        print(f"error: {' '.join(str(error).split()) or 'not enough memory'}", file=sys.stderr)
        return 1


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt too, so that no half version is left; a signal that is ignored (nohup) stays so."""
    before: dict[signal.Signals, Any] = {}

    def interrupt(number: int, frame: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)  # tidying up is not interrupted in turn
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if (handler := signal.getsignal(number)) not in (None, signal.SIG_IGN):
                before[number] = handler
                signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(arguments: list[str]) -> int:
    """Train bundled data sets by name, or a table of one's own, and store a version of each."""
    parser = train_parser()
    given = parser.parse_args(arguments)
    data_options, fit_options = options_of(DataOptions, given), options_of(FitOptions, given)
    if given.names and data_options.data:
        raise UsageError(f"give data sets by name ({', '.join(given.names)}) or a table with --data, not both")
    check_table_is_named(data_options, given)
    if not given.names and not data_options.data:
        said = next((flag for flag in ("target", "name", "schema") if flag in given), None)
        if said:
            raise UsageError(f"--{said} needs a table: --data is missing")
    if given.if_empty and store_holds_models():
        return 0
    names = given.names or ([] if data_options.data else list(DEFAULTS))
    if len(names) > 1 and (data_options.name or data_options.target):
        raise UsageError("--name and --target are for one model, not several")
    quiet_tensorflow()
    from models.network.network import DivergenceError
    from models.version_files import StoreError
    from training import data, pipeline

    runs = [(data.bundled_options(name, data_options), framework(name, given, fit_options)) for name in names]
    stored = []
    try:
        for table, how in runs or [(data_options, fit_options)]:
            stored.append(pipeline.run(table, how, baselines=not given.no_baselines, tune=given.tune))
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
    print(what_now([version.tag for version in stored]))
    return 0


def check_table_is_named(options: DataOptions, given: argparse.Namespace) -> None:
    if "data" in given and not options.data:
        raise UsageError("--data is missing: its value is empty, give a CSV or Parquet file, or - for standard input")
    if options.data and not (options.target or options.schema):
        raise UsageError("--data needs --target, the column to predict, or --schema, which names it")


def framework(name: str, given: argparse.Namespace, options: FitOptions) -> FitOptions:
    """Without names and without --framework, the default models show both frameworks."""
    if not given.names and name in NUMPY_BY_DEFAULT and "framework" not in given:
        return replace(options, framework="numpy")
    return options


def store_holds_models() -> bool:
    from models import store

    return bool(store.versions()[0])


def what_now(tags: list[str]) -> str:
    plural = "them" if len(tags) > 1 else "it"
    return (
        f"\nStored {', '.join(tags)}. Serve {plural} with `make serve` (or .venv/bin/bentoml serve --host 127.0.0.1); "
        "see all with `python -m training list`."
    )


def inspect_table(arguments: list[str]) -> int:
    """Tell what is inferred of each column of a table, and why."""
    parser = Parser("python -m training inspect", description=inspect_table.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a bundled data set")
    add_options(parser, DataOptions)
    parser.add_argument("--out", metavar="FILE", help="write features.json, to be edited and given back with --schema")
    given = parser.parse_args(arguments)
    options = options_of(DataOptions, given)
    check_table_is_named(options, given)
    if len(given.names) + bool(options.data) != 1:
        raise UsageError("inspect takes one data set by name, or a table with --data and --target")
    from training import columns, data, inspect

    options = data.bundled_options(given.names[0], options) if given.names else options
    dataset = columns.load(options)
    print(inspect.report(dataset))
    if given.out:
        inspect.write_schema(dataset, given.out)
        print(f"wrote {given.out}; edit it and train with --schema {given.out}")
    return 0


def list_models(arguments: list[str]) -> int:
    """List the bundled data sets and the stored versions with their metrics."""
    Parser("python -m training list", description=list_models.__doc__).parse_args(arguments)
    import json

    from models import store
    from training.card import NAMES, aligned
    from training.data import BUNDLED

    print("Data sets: " + ", ".join(f"{name} ({bundled.title})" for name, bundled in BUNDLED.items()))
    rows = [["version", "target", "task", "metric"]]
    for versions in store.versions()[0].values():
        for stored in versions:
            try:
                schema = json.loads((stored.path / "features.json").read_text("utf-8"))
                metric = json.loads((stored.path / "metrics.json").read_text("utf-8"))["metric"]
                value = f"{NAMES[metric['name']]} {metric['value']:.4g}"
                rows.append([stored.tag, schema["target"], schema["task"], value])
            except (OSError, ValueError, KeyError, TypeError):
                rows.append([stored.tag, "", "", "cannot be read"])
    print(f"\nVersions in {store.location()}:" + ("" if len(rows) > 1 else " none; train some: python -m training"))
    if len(rows) > 1:
        print(aligned(rows))
    return 0


def delete_models(arguments: list[str]) -> int:
    """Take versions (fares:2) or whole models (fares) out of the store."""
    parser = Parser("python -m training delete", description=delete_models.__doc__)
    parser.add_argument("tags", nargs="+", metavar="NAME[:VERSION]")
    from models import store, version_files

    for tag in parser.parse_args(arguments).tags:
        try:
            store.delete(tag)
        except version_files.StoreError as error:
            raise UsageError(str(error)) from None
        print(f"deleted {tag}")
    return 0


# Options from dataclasses


class Parser(argparse.ArgumentParser):
    """Wrong usage is told in one line, like everything else that is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def train_parser() -> argparse.ArgumentParser:
    parser = Parser(
        "python -m training",
        description="Train bundled data sets by name (without any: housing, income, penguins), or a table of your own.",
        epilog="also: python -m training inspect|list|delete --help",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundled data sets: see `python -m training list`")
    add_options(parser.add_argument_group("the table"), DataOptions)
    add_options(parser.add_argument_group("the network and its training"), FitOptions)
    parser.add_argument(
        "--tune",
        type=_seconds,
        metavar="TIME",
        help="search so long for better settings (20m, 90s, 1h30m) by the validation part, then train with the best; "
        "what is given by flags stays as given. Interrupted, the same command goes on",
    )
    parser.add_argument("--if-empty", action="store_true", help="do nothing when the store holds a model already")
    parser.add_argument(
        "--no-baselines", action="store_true", help="do not fit a linear model and boosted trees beside"
    )
    return parser


def add_options(parser: Any, options: type[Options]) -> None:
    """A flag for each field of a dataclass, with its default and its reason."""
    hints = get_type_hints(options)
    for field in fields(options):
        if field.name != "bundled":  # said by its name
            parser.add_argument("--" + field.name.replace("_", "-"), **_argument(field, hints[field.name]))


def _argument(field: "Field[Any]", hint: Any) -> dict[str, Any]:
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if type(None) in get_args(hint) else [hint]
    kind = kinds[0]
    reason = str(field.metadata["help"]).replace("%", "%%")
    default = field.default
    shown = "" if default in (None, (), "", MISSING) or isinstance(default, bool) else f" (default: {default})"
    common = {"help": reason + shown, "default": argparse.SUPPRESS}
    if kind is bool:
        return common | {"action": "store_true"}
    if get_origin(kind) is tuple:
        of_numbers = get_args(kind)[0] is int
        return common | {"type": _whole_numbers if of_numbers else names_in, "metavar": "N,N" if of_numbers else "A,B"}
    if get_origin(kind) is Literal:
        return common | {"choices": get_args(kind)}
    return common | {"type": kind, "metavar": {int: "N", float: "X"}.get(kind, "TEXT")}


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 64,32") from None


def _seconds(text: str) -> float:
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True)) if parts else 0
    )
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 20m, 90s or 1h30m")
    return seconds


def options_of(options: type[Options], given: argparse.Namespace) -> Options:
    known = {field.name for field in fields(options)}
    return options(**{name: value for name, value in vars(given).items() if name in known})


def quiet_tensorflow() -> None:
    """What TensorFlow says while it starts is not for users."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it announces itself twice, and gained nothing here


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
