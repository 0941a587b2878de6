"""`python -m service.server.library_hooks`: each hook, its library's version, and whether it works."""

import json
import sys

from models.command_line import CommandParser
from service.server.library_hooks import all_hooks


def main() -> int:
    """Print all hooks. The exit code is 1 if one is missing."""
    parser = CommandParser("python -m service.server.library_hooks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object for each hook")
    arguments = parser.parse_args()
    problems = {hook: hook.problem() for hook in all_hooks.ALL}
    for hook, problem in problems.items():
        if arguments.json:
            print(json.dumps({"name": hook.name, "library": hook.library, "breaks": hook.breaks, "problem": problem}))
        else:
            state = "holds" if problem is None else f"MISSING: {problem}"
            print(f"{hook.library} {hook.version}: {hook.name}: {state}\n    {hook.breaks}")
    return int(any(problem is not None for problem in problems.values()))


if __name__ == "__main__":
    sys.exit(main())
