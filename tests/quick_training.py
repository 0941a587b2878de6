"""Quick training for tests of other parts. Importance, which takes longest for wide tables, is measured on few rows.
The plots of the model card, which take most of a short training, are not rendered.

`python -m tests.quick_training …` is `python -m training …` with these limits.
"""

import sys

from training import importance, plots
from training.__main__ import main

LIMITS = {"MAX_EXPLAINED_ROWS": 4, "MAX_SHUFFLED_ROWS": 20, "SHUFFLES": 1}


def placeholder_png(figure: object) -> bytes:
    """Return placeholder bytes instead of the PNG file of a figure."""
    return b"\x89PNG"


def run(arguments: list[str]) -> int:
    """Run training with these limits. Returns its exit code. The limits remain in effect in this process."""
    for name, limit in LIMITS.items():
        setattr(importance, name, limit)
    plots._to_png = placeholder_png
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
