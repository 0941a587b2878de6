"""Feedback: the truth about predictions, by rows with their target or by the ids of captured rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabserve_client.counts import counted
from tabserve_client.errors import InvalidInput, InvalidResponse, objects_in
from tabserve_client.json_rows import json_rows, row_text
from tabserve_client.metadata import document_of
from tabserve_client.options import segment
from tabserve_client.sources import source_of
from tabserve_client.wire import JSON, Reply, Request

ROWS = 1000
"""The number of rows in a request with feedback."""


@dataclass(frozen=True)
class FeedbackReport:
    """The result of feedback.

    judged: rows that were compared. unmatched: ids of no captured row. repeated: ids that were compared before.

    versions: the live metrics of each version after the last request, as in the reference of `/feedback`.
    """

    model: str
    judged: int = 0
    unmatched: int = 0
    repeated: int = 0
    versions: tuple[Mapping[str, Any], ...] = ()

    def followed_by(self, other: "FeedbackReport") -> "FeedbackReport":
        """The sum of the reports of two requests."""
        return FeedbackReport(
            other.model,
            self.judged + other.judged,
            self.unmatched + other.unmatched,
            self.repeated + other.repeated,
            other.versions,
        )


def feedback_requests(
    model: str, rows: Any | None, ids: Sequence[str] | None, truths: Sequence[Any] | None
) -> Iterator[tuple[Request, int]]:
    """The requests in order, and the number of entries of each. Raises InvalidInput.

    The server counts rows each time that it receives them, and ids once.
    """
    if (rows is None) == (ids is None) or (ids is None) != (truths is None):
        raise InvalidInput("feedback needs either rows with their target, or ids and truths")
    if rows is not None:
        source = source_of(rows)
        for start in range(0, source.count, ROWS):
            entries = source.rows(start, min(start + ROWS, source.count))
            yield feedback_request(model, "rows", entries, repeatable=False), len(entries)
        return
    assert ids is not None
    assert truths is not None
    if len(ids) != len(truths):
        raise InvalidInput(f"feedback has {counted(len(ids), 'id')} and {counted(len(truths), 'truth')}")
    entries = json_rows({"id": str(one), "truth": truth} for one, truth in zip(ids, truths, strict=True))
    for start in range(0, len(entries), ROWS):
        piece = entries[start : start + ROWS]
        yield feedback_request(model, "feedback", piece, repeatable=True), len(piece)


def feedback_request(model: str, key: str, entries: Sequence[Mapping[str, Any]], *, repeatable: bool) -> Request:
    content = f'{{"{key}":[{",".join(map(row_text, entries))}]}}'.encode()
    return Request(
        "POST",
        f"/feedback/{segment(model)}",
        headers={"content-type": JSON},
        content=content,
        repeatable=repeatable,
    )


def read_report(reply: Reply) -> FeedbackReport:
    """Raises InvalidResponse."""
    document = document_of(reply)
    try:
        judged, unmatched, repeated = (int(document.get(name) or 0) for name in ("judged", "unmatched", "repeated"))
        return FeedbackReport(document["model"], judged, unmatched, repeated, tuple(objects_in(document, "versions")))
    except (KeyError, TypeError, ValueError):
        raise InvalidResponse("not a feedback report of tabserve") from None
