"""The subcommands of `tabserve`, each the same as a command line of one package."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A subcommand. `__main__` of its package has the function `main`, which runs it, and its parser in `PARSERS`."""

    package: str
    summary: str
    subcommand: str = ""
    extra: str = ""
    """The extra of the installation that the command needs."""


COMMANDS = {
    "train": Command("training", "train models on bundled tables or your own, and store them", extra="training"),
    "inspect": Command("training", "show how the columns of a table are read", "inspect", "training"),
    "import": Command("training", "store a Keras model that was trained elsewhere", "import", "training"),
    "list": Command("training", "list bundled tables and stored versions", "list", "training"),
    "delete": Command("training", "delete stored versions or models", "delete", "training"),
    "prune": Command("training", "delete all but the newest versions", "prune", "training"),
    "serve": Command("service", "serve the stored models over HTTP and gRPC"),
    "status": Command("service", "show what is served, and by which servers", "status"),
    "promote": Command("service", "make a version the champion, which is served", "promote"),
    "rollback": Command("service", "return to the previous champion", "rollback"),
    "alias": Command("service", "set or delete an alias of a version", "alias"),
    "canary": Command("service", "give a version a share of the requests", "canary"),
    "shadow": Command("service", "let a version predict a share of the rows, unseen by clients", "shadow"),
    "audit": Command("service", "list the changes of what is served, and check the list", "audit"),
    "keys": Command("service", "create, list, revoke and rotate API keys", "keys"),
    "drift": Command("service", "compare a file with the training data of a version", "drift"),
    "report": Command("training", "compare the columns of two files", "report", "training"),
    "score": Command("scoring", "score files of any size with a stored model", extra="arrow"),
    "verify": Command("service", "check the files of a version and its signature", "verify"),
    "sign": Command("service", "sign a stored version", "sign"),
    "push": Command("service", "upload a version to a store at a URL", "push"),
    "erase": Command("service", "erase captured rows of a person", "erase"),
    "load": Command("loadtest", "send load to a server, check its responses, compare runs", extra="loadtest"),
}
