"""Makes the decision of a starting worker without a server: `python -m loadtest.bench.start_decision STORE FOLDER
MODEL…`

The workers of a server share FOLDER. Prints a line of JSON for each model, in the form of a worker's log.
"""

import json
import sys
from pathlib import Path

from models import store
from service.batcher import plan_for
from service.shared_costs import SharedCosts


def main(store_path: str, folder: str, names: list[str]) -> None:
    found, _ = store.versions(Path(store_path))
    models = [store.load(found[name][0], "numpy") for name in names]
    for model, cost in zip(models, SharedCosts(Path(folder)).measure(models), strict=True):
        record = {"message": "model ready", "model": model.tag, "inline_rows": plan_for(cost).inline_rows}
        print(json.dumps(record, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
