"""What a worker decides at its start, without its server: `python -m loadtest.bench.start_decision STORE FOLDER MODEL…`

FOLDER: shared by the workers of a server. Prints a line of JSON for each model, as the log of a worker has it.
"""

import json
import sys
from pathlib import Path

from models import store
from service.batcher import plan_for
from service.shared_costs import SharedCosts


def main(place: str, folder: str, names: list[str]) -> None:
    found, _ = store.versions(Path(place))
    models = [store.load(found[name][0], "numpy") for name in names]
    for model, cost in zip(models, SharedCosts(Path(folder)).measure(models), strict=True):
        record = {"message": "model ready", "model": model.tag, "inline_rows": plan_for(cost).inline_rows}
        print(json.dumps(record, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
