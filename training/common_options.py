"""Options that several commands share: tracebacks of errors, signatures, and which versions are served."""

import argparse


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="also print the traceback of an error")


def add_signing_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sign",
        default="",
        metavar="FILE",
        help="sign the stored version with this private key in PEM: P-256, P-384 or P-521",
    )


def add_promotion_options(group: "argparse._ArgumentGroup") -> "argparse._MutuallyExclusiveGroup":
    """Add --promote and --no-promote. Returns their group, to which further modes can be added."""
    modes = group.add_mutually_exclusive_group()
    modes.set_defaults(promotion="auto")
    add_promotion_mode(
        modes,
        "--promote",
        "always",
        "serve the new version, even if a person chose another version; without these flags it is served unless a "
        "person chose the served version",
    )
    add_promotion_mode(modes, "--no-promote", "never", "only store the new version")
    return modes


def add_promotion_mode(modes: "argparse._MutuallyExclusiveGroup", flag: str, mode: str, help_text: str) -> None:
    modes.add_argument(flag, action="store_const", const=mode, dest="promotion", help=help_text)
