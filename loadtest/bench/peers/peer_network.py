"""The network 8-32-1 of `bare_asgi`, with only NumPy: environments of other servers have nothing else."""

from typing import Any

import numpy as np

FIELDS = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]
rng = np.random.default_rng(0)
W1, b1 = rng.standard_normal((len(FIELDS), 32)).astype("f4"), np.zeros(32, "f4")
W2, b2 = rng.standard_normal((32, 1)).astype("f4"), np.zeros(1, "f4")


def forward(x: Any) -> Any:
    """(rows, 8) -> (rows, 1)."""
    return np.maximum(np.asarray(x, "f4") @ W1 + b1, 0) @ W2 + b2
