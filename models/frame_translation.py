"""Translates a frame from one version of a model to the columns and levels of another version."""

import numpy as np
import numpy.typing as npt

from models.feature import MISSING, UNSEEN, Feature
from models.frame import CodeMatrix, Frame
from models.schema import FeatureSchema


class FrameTranslation:
    """Translates frames to the target's columns and levels. Columns that exist only in the target become missing
    values. Raises ValueError for columns that cannot be translated."""

    def __init__(self, source: FeatureSchema, target: FeatureSchema) -> None:
        self._numbers = positions(source.numeric, target.numeric)
        self._codes = positions(source.categorical, target.categorical)
        self._tables = [
            None if found is None else level_table(source.categorical[found], feature)
            for found, feature in zip(self._codes, target.categorical, strict=True)
        ]

    def translate(self, frame: Frame) -> Frame:
        rows = len(frame.numbers)
        numbers = np.full((rows, len(self._numbers)), np.nan)
        for column, found in enumerate(self._numbers):
            if found is not None:
                numbers[:, column] = frame.numbers[:, found]
        codes: CodeMatrix = np.full((rows, len(self._codes)), MISSING, dtype=np.int64)
        for column, (found, table) in enumerate(zip(self._codes, self._tables, strict=True)):
            if found is not None:
                source = frame.codes[:, found]
                codes[:, column] = source if table is None else table[source]
        return Frame(numbers, codes)


def positions(source: list[Feature], target: list[Feature]) -> list[int | None]:
    """The position in the source of each feature of the target; None if the source does not have the feature. Raises
    ValueError if the kind or the text score of a feature differs, because a frame contains only the scores of texts."""
    known = {feature.name: (number, feature.kind, feature.score) for number, feature in enumerate(source)}
    found: list[int | None] = []
    for feature in target:
        number, kind, score = known.get(feature.name, (None, feature.kind, None))
        if kind != feature.kind:
            raise ValueError(f"column {feature.name!r} has a different kind in the other version")
        if number is not None and score != feature.score:
            raise ValueError(f"column {feature.name!r} is a text column whose score differs between the versions")
        found.append(number)
    return found


def level_table(source: Feature, target: Feature) -> npt.NDArray[np.int64] | None:
    """The target's code for each code of the source; the last two entries are for MISSING and UNSEEN. None if all codes
    are equal.

    Raises ValueError if codes are hash buckets, whose levels are unknown.
    """
    hashed = source.seen.hashed, target.seen.hashed
    if hashed[0] == hashed[1] and (hashed[0] or source.positions == target.positions):
        return None
    if hashed[0] or hashed[1]:
        raise ValueError(f"column {source.name!r} has a different encoding of its levels in the other version")
    table = np.full(len(source.positions) + 2, UNSEEN, dtype=np.int64)
    for level, position in source.positions.items():
        table[position] = target.positions.get(level, UNSEEN)
    table[MISSING], table[UNSEEN] = MISSING, UNSEEN
    return table
