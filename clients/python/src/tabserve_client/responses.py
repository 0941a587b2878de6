"""Reads the responses of a call: JSON, NDJSON or Arrow content becomes a `Response`.

A response has one entry for each row that was sent. For any other content, such as an incomplete response,
InvalidResponse is raised.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from tabserve_client.counts import counted
from tabserve_client.errors import InvalidResponse, ServerError, TabserveError, objects_in, server_error
from tabserve_client.options import OutputOptions
from tabserve_client.row_issues import RowError, RowWarning, error_of, errors_in, joined, warning_of, warnings_in
from tabserve_client.table_columns import entries_of
from tabserve_client.wire import ARROW, NDJSON, Reply

STOPPED = "stopped:"
Entry = dict[str, Any] | None


class StoppedResponse(TabserveError):  # noqa: N818 - never leaves the package
    """A response that the server ended with an error, because the body exceeded a limit of a single request."""


@dataclass(frozen=True)
class SentRequest:
    """The properties of a request that its response depends on. first_row: its first row in the data of the call."""

    model: str
    first_row: int
    rows: int
    options: OutputOptions


class Response(Protocol):
    """The predictions for some rows. entries: the JSON form of each prediction; None for an invalid row."""

    @property
    def sent(self) -> SentRequest: ...

    @property
    def version(self) -> str: ...

    @property
    def request_id(self) -> str: ...

    @property
    def entries(self) -> Sequence[Entry]: ...

    @property
    def errors(self) -> Sequence[RowError]: ...

    @property
    def warnings(self) -> Sequence[RowWarning]: ...


@dataclass(frozen=True)
class EntryResponse:
    """A response in JSON or NDJSON."""

    sent: SentRequest
    version: str
    request_id: str
    entries: Sequence[Entry]
    errors: Sequence[RowError] = ()

    @cached_property
    def warnings(self) -> Sequence[RowWarning]:
        return [
            warning_of(warning, row)
            for row, entry in enumerate(self.entries, self.sent.first_row)
            if entry is not None and "warnings" in entry
            for warning in objects_in(entry, "warnings")
        ]


@dataclass(frozen=True)
class TableResponse:
    """A response in Arrow. table: the columns of the predictions, then `warnings` and `error`."""

    sent: SentRequest
    version: str
    request_id: str
    table: Any = field(repr=False)

    @cached_property
    def entries(self) -> Sequence[Entry]:
        return entries_of(self.table, self.sent.options, self.sent.first_row)

    @cached_property
    def errors(self) -> Sequence[RowError]:
        return [error for row, text in self._row_texts("error") for error in errors_in(text, row)]

    @cached_property
    def warnings(self) -> Sequence[RowWarning]:
        return [warning for row, text in self._row_texts("warnings") for warning in warnings_in(text, row)]

    def _row_texts(self, name: str) -> list[tuple[int, str]]:
        column = self.table.column(name)
        if column.null_count == len(column):
            return []
        return [(row, text) for row, text in enumerate(column.to_pylist(), self.sent.first_row) if text is not None]


def read_response(reply: Reply, sent: SentRequest) -> Response:
    """Read a response in any format. Raises InvalidResponse or StoppedResponse."""
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    response: Response
    if kind == ARROW:
        response = read_arrow(reply, sent)
    elif kind == NDJSON:
        response = read_ndjson(reply, sent)
    else:
        response = read_json(reply, sent)
    if not reply.complete:
        raise InvalidResponse("the connection ended before the end of the response")
    if len(response.entries if isinstance(response, EntryResponse) else response.table) != sent.rows:
        raise InvalidResponse(f"the response does not have the {counted(sent.rows, 'row')} of the request")
    return response


def read_json(reply: Reply, sent: SentRequest) -> EntryResponse:
    try:
        document = json.loads(reply.content)
        predictions = document["predictions"]
        if "error" in document:
            raise StoppedResponse(str(document["error"]))
        if not isinstance(predictions, list) or not all(isinstance(entry, dict | None) for entry in predictions):
            raise TypeError
        errors = [error_of(entry).moved(sent.first_row) for entry in objects_in(document, "errors")]
        return EntryResponse(sent, str(document["version"]), request_id_of(reply), predictions, errors)
    except (ValueError, KeyError, TypeError):
        raise invalid_response(reply) from None


def read_ndjson(reply: Reply, sent: SentRequest) -> EntryResponse:
    entries: list[Entry] = []
    errors: list[RowError] = []
    try:
        for row, line in enumerate(reply.content.splitlines(), sent.first_row):
            entry = json.loads(line)
            if "error" in entry:
                raise StoppedResponse(str(entry["error"]))
            if "errors" in entry:
                errors += [renumber_error(row, error_of(error)) for error in objects_in(entry, "errors")]
                entry = None
            entries.append(entry)
    except (ValueError, TypeError):
        raise invalid_response(reply) from None
    return EntryResponse(sent, version_of(reply), request_id_of(reply), entries, errors)


def renumber_error(row: int, error: RowError) -> RowError:
    """The error of a line, with the row number in the data of the call."""
    return error.moved(row - (error.row or 0))


def read_arrow(reply: Reply, sent: SentRequest) -> TableResponse:
    import pyarrow as pa

    batches = []
    try:
        with pa.ipc.open_stream(reply.content) as stream:
            schema = stream.schema
            for batch in stream:  # keeps the batches before the end of an incomplete response
                batches.append(batch)
    except (pa.ArrowException, OSError, ValueError):
        if not batches:
            raise invalid_response(reply) from None
    table = pa.Table.from_batches(batches, schema)
    if not {"warnings", "error"} <= {*table.column_names}:
        raise invalid_response(reply)
    last = table.column("error")[-1].as_py() if len(table) else None
    if (len(table) > sent.rows or not reply.complete) and str(last).startswith(STOPPED):
        raise StoppedResponse(str(last))
    return TableResponse(sent, version_of(reply), request_id_of(reply), renumber_errors(table, sent.first_row))


def renumber_errors(table: Any, first_row: int) -> Any:
    """The table of a piece. Its error texts have row numbers in the data of the call."""
    import pyarrow as pa

    column = table.column("error")
    if not first_row or column.null_count == len(column):
        return table
    texts = [
        None if text is None else joined(errors_in(text, row)) for row, text in enumerate(column.to_pylist(), first_row)
    ]
    return table.set_column(table.schema.get_field_index("error"), "error", pa.array(texts, pa.string()))


def version_of(reply: Reply) -> str:
    """The version that answered, from the header, for bodies that do not contain it."""
    return reply.headers.get("x-model-version", "")


def request_id_of(reply: Reply) -> str:
    return reply.headers.get("x-request-id", "")


def invalid_response(reply: Reply) -> TabserveError:
    """The error for a successful response whose content cannot be read."""
    if not reply.complete:
        return InvalidResponse("the connection ended before the end of the response")
    found: ServerError = server_error(reply.status, reply.headers, reply.content)
    return InvalidResponse(f"not a response of tabserve: {found.detail}")
