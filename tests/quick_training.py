"""Training for tests that do not test training: importance, which takes longest for wide tables, is measured on few
rows, and the plots of the model card, which take most of a short training, are not rendered.

`python -m tests.quick_training …` is `python -m training …` with these limits.
"""

import sys

from training import importance, plots
from training.__main__ import main

LIMITS = {"MAX_EXPLAINED_ROWS": 4, "MAX_SHUFFLED_ROWS": 20, "SHUFFLES": 1}


def unrendered(figure: object) -> bytes:
    """Replaces the PNG file of a figure."""
    return b"\x89PNG"


def run(arguments: list[str]) -> int:
    """Returns the exit code. Run it in a separate process, because the limits stay."""
    for name, limit in LIMITS.items():
        setattr(importance, name, limit)
    plots._to_png = unrendered
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
