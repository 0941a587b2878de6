"""Training for tests that do not test training: importance, which takes longest for wide tables, is measured on few
rows.

`python -m tests.quick_training …` is `python -m training …` with these limits.
"""

import sys

from training import importance
from training.__main__ import main

LIMITS = {"MAX_EXPLAINED_ROWS": 4, "MAX_SHUFFLED_ROWS": 20, "SHUFFLES": 1}


def run(arguments: list[str]) -> int:
    """Returns the exit code. Run it in a separate process, because the limits stay."""
    for name, limit in LIMITS.items():
        setattr(importance, name, limit)
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
