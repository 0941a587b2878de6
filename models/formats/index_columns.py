"""Index columns, which pandas writes in addition to the columns of a table. Training and requests ignore them."""

import json
import re
from collections.abc import Sequence

from models.schema import FeatureSchema

UNNAMED_INDEX = re.compile(r"__index_level_\d+__")  # in Parquet and Arrow
MAX_METADATA_BYTES = 1 << 20


def index_names(names: Sequence[str], metadata: bytes | None) -> frozenset[str]:
    """The names of the columns that pandas wrote as an index.

    metadata: the pandas metadata of an Arrow schema, which contains the names of indexes.
    """
    declared = _declared_names(metadata) if metadata else frozenset()
    return frozenset(name for name in names if name in declared or UNNAMED_INDEX.fullmatch(name))


def ignored_index(schema: FeatureSchema, marked: frozenset[str]) -> frozenset[str]:
    """The index columns that are not columns of the training table."""
    return marked - schema.by_name.keys() - schema.unused


def is_unnamed_index(schema: FeatureSchema, names: Sequence[str]) -> bool:
    """Whether the first column of a CSV is the unnamed index that `DataFrame.to_csv` writes."""
    return names[:1] == [""] and "" not in schema.by_name


def _declared_names(metadata: bytes) -> frozenset[str]:
    if len(metadata) > MAX_METADATA_BYTES:
        return frozenset()
    try:
        listed = json.loads(metadata)["index_columns"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return frozenset()
    return frozenset(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else frozenset()
