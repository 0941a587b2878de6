"""Scores rows with one version of a model. Files, Spark and Ray use this code."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from models import manifest, store
from models.formats.arrow_columns import BlockBuilder, check_names, check_type, pandas_metadata
from models.formats.blocks import Block
from models.formats.encoders import NO_LIMIT
from models.formats.errors import FormatError
from models.formats.index_columns import ignored_index, index_names
from models.formats.record_batches import RecordBatchWriter
from models.output_options import OptionError, with_options
from models.outputs import NO_OUTPUTS, Outputs
from models.rows import ValidatedRows, is_unknown
from models.tabular_model import TabularModel
from models.version_files import StoredVersion
from scoring.errors import ScoringError, UnreadableInput, UnusableRequest
from scoring.scoring_options import NO_OPTIONS, ScoringOptions

BLOCK_ROWS = 4096  # rows that are validated and predicted at once


def score_batches(
    folder: str | Path, batches: Iterable[pa.RecordBatch], options: ScoringOptions = NO_OPTIONS
) -> Iterator[pa.RecordBatch]:
    """Score record batches with the model version in a folder. The output has one row for each input row, in the same
    order.

    An output row contains the kept columns and, as in the service's Arrow responses, the columns of a prediction,
    `warnings` and `error`. Raises ScoringError.
    """
    yield from BatchScorer.load(folder, options).score_batches(batches)


@dataclass(frozen=True)
class ScoredBlock:
    """The output for a block of rows, and the result of their validation. The first columns are the kept columns."""

    batch: pa.RecordBatch
    rows: ValidatedRows
    first_row: int
    kept_columns: int = 0


class BatchScorer:
    """Scores rows with a model version and options. Raises UnusableRequest if the model does not support the
    options."""

    def __init__(self, model: TabularModel, options: ScoringOptions, digest: str = "") -> None:
        """digest: the digest of the version's manifest, for the metadata of the output."""
        try:
            self._extended = with_options(model, options.outputs) if options.outputs else None
        except OptionError as error:
            raise UnusableRequest(str(error)) from None
        self.model = self._extended.model if self._extended else model
        self.schema = model.schema
        self.options = options
        self._digest = digest
        self._writer = RecordBatchWriter(self.model)
        repeated = [name for name in options.keep if name in self._writer.schema.names]
        if repeated:
            raise UnusableRequest(f"the column {repeated[0]!r} cannot be kept: the output has a column with this name")

    @classmethod
    def load(cls, folder: str | Path, options: ScoringOptions = NO_OPTIONS) -> "BatchScorer":
        """Load a version and its engine from its folder in a model store. Raises StoreError or UnusableRequest."""
        stored = version_in_folder(Path(folder))
        model = store.load(stored, trusted_keys=store.environment_trusted_keys())
        return cls(model, options, manifest.files_digest(stored.path))

    # The schema of the output

    def output_schema(self, kept: pa.Schema | None = None, **metadata: str) -> pa.Schema:
        """The schema of the output. kept: the fields of the kept columns. metadata: entries in addition to the metadata
        of the version."""
        fields = [*(kept or ()), *self._writer.schema]
        version = {"model": self.model.name, "version": self.model.version, "manifest": self._digest}
        return pa.schema(fields, metadata={**version, **metadata})

    def kept_fields(self, schema: pa.Schema) -> pa.Schema:
        """The fields of the kept columns of a table. Raises UnreadableInput if one is missing."""
        names = schema.names
        for name in self.options.keep:
            if name not in names:
                raise UnreadableInput(f"it has no column {name!r}, which is to be kept")
        return pa.schema([schema.field(name) for name in self.options.keep])

    # Rows

    def score_batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score record batches of any size. In errors, rows are numbered from 0 across all batches."""
        first_row = 0
        for batch in batches:
            for scored in self.score_batch(batch, first_row):
                yield scored.batch
            first_row += batch.num_rows

    def score_batch(self, batch: pa.RecordBatch, first_row: int) -> Iterator[ScoredBlock]:
        """Score a record batch of any size. first_row: the number of its first row in errors."""
        kept = batch.select(self.kept_fields(batch.schema).names) if self.options.keep else None
        try:
            known = batch.select(self.needed_columns(batch.schema))
            for name in known.schema.names:
                if name in self.schema.by_name:
                    check_type(known.schema.field(name).type, name)
            for start in range(0, batch.num_rows, BLOCK_ROWS):
                builder = BlockBuilder(self.schema, BLOCK_ROWS)
                blocks = [*builder.add(known.slice(start, BLOCK_ROWS)), *builder.rest()]
                assert len(blocks) == 1
                yield self.score_block(
                    blocks[0], first_row + start, None if kept is None else kept.slice(start, BLOCK_ROWS)
                )
        except FormatError as error:
            raise UnreadableInput(str(error)) from None

    def needed_columns(self, schema: pa.Schema) -> list[str]:
        """The columns that are validated: all except columns that are only kept or ignored."""
        check_names(schema.names)
        index = ignored_index(self.schema, index_names(schema.names, pandas_metadata(schema)))
        return [name for name in schema.names if name not in index and not self.is_skipped(name)]

    def is_skipped(self, name: str) -> bool:
        """Whether a column is not validated because the model does not have it and it is kept or ignored."""
        return is_unknown(self.schema, name) and (self.options.ignore_unknown or name in self.options.keep)

    def score_block(self, block: Block, first_row: int, kept: pa.RecordBatch | None = None) -> ScoredBlock:
        """Score decoded rows. kept: the kept columns of these rows."""
        rows = block.validate(self.schema, first_row=first_row, max_errors=NO_LIMIT)
        scored = self._writer.batch(rows, self._predict(rows), first_row)
        if kept is None:
            return ScoredBlock(scored, rows, first_row)
        schema = self.output_schema(kept.schema)
        batch = pa.RecordBatch.from_arrays([*kept.columns, *scored.columns], schema=schema)
        return ScoredBlock(batch, rows, first_row, kept.num_columns)

    def _predict(self, rows: ValidatedRows) -> Outputs:
        """The outputs of the valid rows. Raises ScoringError."""
        count = len(rows.frame.numbers)
        if not count:
            return NO_OUTPUTS
        outputs = self.model.predict(rows.frame)
        if not outputs.all_finite():
            raise ScoringError(f"{self.model.tag} returned a prediction that is not finite")
        if self._extended is None or not self._extended.explains:
            return outputs
        return self._extended.explain(rows.frame).add_to(outputs)


def version_in_folder(folder: Path) -> StoredVersion:
    """The version whose files are in a folder. Raises UnusableRequest."""
    if not (folder / "features.json").is_file():
        raise UnusableRequest(f"{folder} is not the folder of a model version: it has no features.json")
    if folder.name.isdecimal():
        return StoredVersion(folder.parent.name, int(folder.name), folder)
    return store.unpacked_version(folder)
