"""What protocols without a place for it say all the same way: an error in one text, warnings in one header."""

import json

from models.rows import ValidatedRows
from service.errors import RequestError

STATUSES = {422: 400}
"""The statuses that other protocols have instead of ours: to them, a row that is not valid is a bad request."""
WARNINGS = b"x-tabserve-warnings"
MOST_BYTES = 4096  # of a header


def status(error: RequestError) -> int:
    return STATUSES.get(error.status, error.status)


def sentence(error: RequestError) -> str:
    """What is wrong, with every row and field that the problem document would list."""
    messages = [found.message for found in error.errors]
    if error.omitted:
        messages.append(f"and {error.omitted} more")
    if messages and messages[0] == error.detail:
        return "; ".join(messages)
    return f"{error.detail}: {'; '.join(messages)}" if messages else error.detail


def warnings_header(
    accepted: ValidatedRows, name: bytes = WARNINGS, most: int = MOST_BYTES
) -> list[tuple[bytes, bytes]]:
    """`{"warnings": [{"row", "field", "code", "message"}], "omitted": 0}`, the first that fit into `most` bytes; where
    there is nothing to say, no header. Rows count as in the request."""
    if not accepted.warnings:
        return []
    told: list[str] = []
    count, left = 0, most - len('{"warnings": [], "omitted": 1000000}')
    for place, warnings in sorted(accepted.warnings.items()):
        row = place if accepted.valid is None else accepted.valid[place]
        for warning in warnings:
            count += 1
            if left > 0:
                text = json.dumps({"row": row, **warning._asdict()}).replace("\x7f", "\\u007f")  # visible ASCII
                left -= len(text) + 2
                told += [text] if left >= 0 else []
    return [(name, b'{"warnings": [%s], "omitted": %d}' % (", ".join(told).encode(), count - len(told)))]
