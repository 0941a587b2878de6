"""The subcommands of `tabserve`, each the same as a command line of one package."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`python -m PACKAGE SUBCOMMAND`: `main` in the package's `__main__` runs it, `PARSERS` there has its parser."""

    package: str
    summary: str
    subcommand: str = ""
    extra: str = ""
    """The extra of the installation that it needs."""


COMMANDS = {
    "train": Command("training", "train models of bundled tables or of your own, and store them", extra="training"),
    "inspect": Command("training", "show how the columns of a table are read", "inspect", "training"),
    "list": Command("training", "list bundled tables and stored versions", "list", "training"),
    "delete": Command("training", "delete stored versions or models", "delete", "training"),
    "serve": Command("service", "serve the stored models over HTTP and gRPC"),
    "load": Command("loadtest", "load a server, check its answers, compare runs", extra="loadtest"),
}
