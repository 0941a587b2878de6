"""The schema of a model's table: columns, target and classes. It is stored in `features.json`."""

import codecs
import json
import re
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from models.architecture import Task
from models.cell_format import PLAIN, CellFormat
from models.cell_parsing import CellReader
from models.feature import Feature, Ignored, integer_if_exact, level_type_of
from models.frame import FrameBuilder
from models.number_rows import NumberRows, can_read_rows
from models.ranges import NumericRanges
from models.text import counted, truncate
from models.validation_problem import clean_message, error_location
from models.validators import RowValidators

MISSING_TOKENS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "?")
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


class SchemaError(ValueError):
    """The schema is invalid or cannot be parsed. The message names the place."""


class FeatureSchema(BaseModel):
    """The columns of a table for one model. Immutable; `features.json` contains it as JSON.

    format: since format 2 columns have the format of their cells (`cells`), and the `missing` texts mean missing in all
    table formats, not only in CSV. encoding: the encoding of the training CSV if it was not UTF-8; it is used for
    bodies that are not UTF-8. "utf-8": the file was UTF-8 except for some bytes, which were read as cp1252. skip_rows:
    the number of lines above the header of the training CSV. comment: the beginning of its comment lines. footer_lines:
    the number of lines with fewer cells at its end. Bodies may contain such lines. escape: the character before quotes
    in its cells.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1, 2] = 1
    name: Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
    task: Task
    target: str
    classes: list[bool | int | float | str] | None = None
    missing: list[str] = list(MISSING_TOKENS)
    encoding: str | None = None
    skip_rows: Annotated[int, Field(ge=1, le=100_000)] | None = None
    comment: Annotated[str, StringConstraints(min_length=1, max_length=20)] | None = None
    footer_lines: Annotated[int, Field(ge=1, le=100)] | None = None
    escape: Literal["\\"] | None = None
    target_cells: CellFormat = PLAIN
    features: Annotated[list[Feature], Field(min_length=1)]
    ignored: list[Ignored] = []

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        formats = [self.target_cells, *(feature.cells for feature in self.features)]
        if self.format == 1 and any(cells != PLAIN for cells in formats):
            raise ValueError("the format of cells ('cells') needs format 2 of the schema")
        if self.format == 1 and self.encoding is not None:
            raise ValueError("'encoding' needs format 2 of the schema")
        if self.format == 1 and (self.skip_rows is not None or self.comment is not None):
            raise ValueError("'skip_rows' and 'comment' need format 2 of the schema")
        if self.format == 1 and (self.footer_lines is not None or self.escape is not None):
            raise ValueError("'footer_lines' and 'escape' need format 2 of the schema")
        return self

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str | None) -> str | None:
        try:
            known = encoding is None or codecs.getincrementaldecoder(encoding)("strict").decode(b"", True) == ""
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ValueError(f"{truncate(encoding or '')!r} is not a known encoding of text")
        return encoding

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [feature.name for feature in self.features]
        names += [column.name for column in self.ignored] + [self.target]
        repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        if repeated:
            raise ValueError(f"column {min(repeated)!r} is named twice among features, ignored and target")
        return self

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if (self.task == "regression") != (self.classes is None):
            raise ValueError("a classification has classes, a regression has none")
        classes = self.classes or []
        if (self.task == "binary") != (len(classes) == 2) and classes:
            raise ValueError(f"a {self.task} task does not have {counted(len(classes), 'class', 'classes')}")
        if len(set(classes)) < len(classes) or len({level_type_of(label) for label in classes}) > 1:
            raise ValueError("the classes must be distinct and of one type")
        return self

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse `features.json`. Raises SchemaError with the problem and its place in one line."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SchemaError(_first_problem(error, text)) from error

    def to_json(self) -> str:
        """The content of `features.json`: one feature per line, without fields that are not set."""
        whole = self.model_dump(mode="json", exclude_none=True)
        whole["target_cells"] = self.target_cells.set_fields()
        if not whole["target_cells"]:
            del whole["target_cells"]
        for written, feature in zip(whole["features"], self.features, strict=True):
            seen, written["cells"] = written["seen"], feature.cells.set_fields()
            if not written["cells"]:
                del written["cells"]
            if not written["seen"]:
                del written["seen"]
            if feature.kind == "number":
                for place, key in ((written, "minimum"), (written, "maximum"), (seen, "min"), (seen, "max")):
                    if key in place:
                        place[key] = integer_if_exact(place[key])
        lists = {key: whole.pop(key) for key in ("features", "ignored")}
        head = json.dumps(whole, ensure_ascii=False)[1:-1]
        parts = []
        for key, entries in lists.items():
            lines = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
            parts.append(f' "{key}": [\n  {lines}]' if entries else f' "{key}": []')
        return "{" + head + ",\n" + ",\n".join(parts) + "}\n"

    @cached_property
    def numeric(self) -> list[Feature]:
        """The features of `Frame.numbers`, in order."""
        return [feature for feature in self.features if feature.kind != "category"]

    @cached_property
    def categorical(self) -> list[Feature]:
        """The features of `Frame.codes`, in order."""
        return [feature for feature in self.features if feature.kind == "category"]

    @cached_property
    def in_frame_order(self) -> list[Feature]:
        """The features of `Frame.numbers`, then those of `Frame.codes`."""
        return [*self.numeric, *self.categorical]

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        return {feature.name: feature for feature in self.features}

    @cached_property
    def only_numbers(self) -> bool:
        return all(feature.kind == "number" for feature in self.features)

    @cached_property
    def has_text(self) -> bool:
        return any(feature.kind == "text" for feature in self.features)

    @cached_property
    def unused(self) -> frozenset[str]:
        """The columns that a row may contain although they are not used: other columns of the training table, including
        the target."""
        return frozenset([column.name for column in self.ignored] + [self.target])

    @cached_property
    def readers(self) -> dict[str, CellReader]:
        """The parser of each feature's text cells."""
        tokens, everywhere = frozenset(self.missing), self.format > 1
        return {feature.name: CellReader(feature, tokens, everywhere=everywhere) for feature in self.features}

    @cached_property
    def value_readers(self) -> dict[str, CellReader]:
        """The parsers of features whose numbers, booleans or missing values may be text in JSON."""
        return {name: reader for name, reader in self.readers.items() if reader.reads_values}

    @cached_property
    def number_rows(self) -> NumberRows | None:
        """The fast reader of many rows, if all features are numbers that are never missing."""
        return NumberRows(self.features) if can_read_rows(self.features) else None

    @cached_property
    def validators(self) -> RowValidators:
        return RowValidators(self.features, self.unused)

    @cached_property
    def frames(self) -> FrameBuilder:
        read = [feature for feature in self.features if feature.kind in ("category", "text")]
        missing = {feature.name: self.readers[feature.name].missing_values for feature in read}
        return FrameBuilder(self.numeric, self.categorical, missing)

    @cached_property
    def ranges(self) -> NumericRanges:
        return NumericRanges(self.numeric)


def _first_problem(error: ValidationError, text: str | bytes) -> str:
    """The first problem of a `features.json` and its place, with the name of the feature instead of its number."""
    found = error.errors()
    place = error_location(found[0]["loc"])
    alternatives = [other["msg"] for other in found if error_location(other["loc"]) == place]  # alternatives of a union
    message = " or ".join([alternatives[0], *(other.removeprefix("Input should be ") for other in alternatives[1:])])
    message = clean_message(message)
    if len(place) > 1 and place[0] == "features":
        if len(place) == 2 and message.startswith("feature "):  # the message of `Feature` already contains the name
            return message
        feature = json.loads(text)["features"][place[1]]
        if isinstance(feature, dict) and isinstance(name := feature.get("name"), str) and name:
            return ": ".join([f"feature {truncate(name)!r}", *filter(None, [".".join(map(str, place[2:]))]), message])
    where = ".".join(map(str, place))
    return f"{where}: {message}" if where else message
