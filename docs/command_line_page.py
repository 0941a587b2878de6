"""Generates the reference page of the command line from the parsers."""

import os
import re

from tabserve.__main__ import parser
from tabserve.commands import COMMANDS

INTRODUCTION = """# Command line

The wheel installs `tabserve`; in a checkout the command is `.venv/bin/tabserve`. Each command is the same as
`python -m PACKAGE …`. The exit codes are 0 for success, 1 if the work failed or a goal was missed, and 2 for wrong
usage or unusable data. Wrong usage is reported in one line, `error: … (see COMMAND --help)`.

To complete words in the shell, run `eval "$(tabserve completion bash)"` (also for zsh) or
`tabserve completion fish | source`.
"""


def command_line_markdown() -> str:
    from tabserve.completion import parser_of

    os.environ["COLUMNS"] = "100"  # argparse wraps at the width of the terminal
    parts = [INTRODUCTION, text_block(parser().format_help())]
    for name, command in COMMANDS.items():
        module = f"python -m {command.package} {command.subcommand}".strip()
        help_text = re.sub(rf"^usage: {re.escape(module)}", f"usage: tabserve {name}", parser_of(name).format_help())
        parts += [f"## tabserve {name}", f"This command is the same as `{module}`.", text_block(help_text)]
    return "\n\n".join(parts) + "\n"


def text_block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
