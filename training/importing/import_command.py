"""The command `import`, which stores a Keras model that was trained elsewhere as a version."""

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from models.command_line import CommandParser
from training.arguments import add_options, options_from
from training.common_options import add_debug_option, add_promotion_options, add_signing_option
from training.config import DataOptions
from training.errors import UsageError
from training.importing.import_options import ImportOptions, OutputForm, Preprocessing

if TYPE_CHECKING:  # the extra `signing` installs cryptography
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PROGRAM = "python -m training"


def import_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        f"{program} import",
        description="Store a Keras model that was trained elsewhere as a version, with a sample of rows.",
        epilog="docs/import.md describes which models are served.",
    )
    parser.add_argument("model", metavar="MODEL", help="a .keras file, written by model.save of Keras 3")
    parser.add_argument(
        "--output",
        choices=get_args(OutputForm),
        help="the form of the model's outputs (default: probabilities after a softmax or sigmoid; else logits for "
        "several outputs and a value for one)",
    )
    parser.add_argument(
        "--preprocessing",
        choices=get_args(Preprocessing),
        help="none: the input of the model is the numbers of the columns, in their order; inside: its inputs have the "
        "names of the columns, and its layers encode them; fit: numbers are scaled to mean 0 and deviation 1 and "
        "categories become one column for each level, both fitted to the sample (default: none, or inside for several "
        "inputs or text)",
    )
    parser.add_argument(
        "--head",
        metavar="NAME",
        help="the output of the model, if it has several (default: the output with the target's name)",
    )
    add_options(parser.add_argument_group("the sample"), DataOptions)
    add_signing_option(parser)
    add_promotion_options(parser.add_argument_group("what is served"))
    add_debug_option(parser)
    return parser


def check_sample(data: DataOptions) -> None:
    """Raises UsageError if there is no table or no target."""
    if not data.data:
        raise UsageError("--data is missing: name a sample of rows with the columns of the model and the target")
    if not (data.target or data.schema):
        raise UsageError("--data needs --target, the column to predict, or --schema, which names it")


def import_file(parsed: argparse.Namespace, signing_key: "EllipticCurvePrivateKey | None") -> int:
    """Import a model. Returns the exit code. Keras is imported here."""
    data = options_from(DataOptions, parsed)
    check_sample(data)
    from models.version_files import StoreError
    from training.importing.import_run import run

    options = ImportOptions(parsed.model, parsed.output, parsed.preprocessing, parsed.head)
    try:
        stored = run(options, data, parsed.promotion, signing_key=signing_key)
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\nStored {stored.tag}. Serve it with `make serve` or `tabserve serve`; `tabserve list` shows all versions.")
    return 0
