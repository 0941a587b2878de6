"""Hashes the content of each row, independent of the order of the rows and the columns."""

from itertools import chain

import numpy as np

from training.content_hash import Hashes, hash_columns
from training.dataset import Dataset


def row_hashes(dataset: Dataset) -> Hashes:
    """(n,): equal for rows that are equal in every feature and the target, independent of the order of the columns."""
    classes = dataset.schema.classes
    target = dataset.target if classes is None else np.array([str(label) for label in classes], object)[dataset.target]
    features = ((f"feature {name}", values) for name, values in dataset.columns.items())
    return hash_columns(chain(features, [(f"target {dataset.schema.target}", target)]))
