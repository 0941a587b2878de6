"""The reference page of the command line, made from the parsers."""

import os
import re

from tabserve.__main__ import parser
from tabserve.commands import COMMANDS

INTRODUCTION = """# Command line

`tabserve` is installed with the wheel; in a checkout it is `.venv/bin/tabserve`. Each command is the same as
`python -m PACKAGE …`. Exit codes: 0 success, 1 the work failed or a goal was missed, 2 wrong usage or unusable data.
Wrong usage is reported in one line, `error: … (see COMMAND --help)`.

Completion of words: `eval "$(tabserve completion bash)"` (also zsh), `tabserve completion fish | source`.
"""


def page() -> str:
    from tabserve.completion import parser_of

    os.environ["COLUMNS"] = "100"  # argparse wraps at the width of the terminal
    parts = [INTRODUCTION, block(parser().format_help())]
    for name, command in COMMANDS.items():
        module = f"python -m {command.package} {command.subcommand}".strip()
        help_text = re.sub(rf"^usage: {re.escape(module)}", f"usage: tabserve {name}", parser_of(name).format_help())
        parts += [f"## tabserve {name}", f"The same as `{module}`.", block(help_text)]
    return "\n\n".join(parts) + "\n"


def block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
