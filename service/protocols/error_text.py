"""Errors and warnings for protocols that have no fields for them: an error as one sentence, warnings as a header."""

import json

from models.rows import ValidatedRows
from service.errors import RequestError

STATUSES = {422: 400}
"""The statuses of the other protocols that differ from those of the native API: an invalid row is a bad request
(400)."""
WARNINGS_HEADER = b"x-tabserve-warnings"
MAX_HEADER_BYTES = 4096


def status(error: RequestError) -> int:
    return STATUSES.get(error.status, error.status)


def sentence(error: RequestError) -> str:
    """All errors of the problem document in one sentence."""
    messages = [found.message for found in error.errors]
    if error.omitted:
        messages.append(f"and {error.omitted} more")
    if messages and messages[0] == error.detail:
        return "; ".join(messages)
    return f"{error.detail}: {'; '.join(messages)}" if messages else error.detail


def warnings_header(
    validated: ValidatedRows, name: bytes = WARNINGS_HEADER, max_bytes: int = MAX_HEADER_BYTES
) -> list[tuple[bytes, bytes]]:
    """`{"warnings": [{"row", "field", "code", "message"}], "omitted": 0}` with the first warnings that fit into
    `max_bytes`. Returns no header if there are no warnings. `row` is the position in the request."""
    if not validated.warnings:
        return []
    listed: list[str] = []
    count, room = 0, max_bytes - len('{"warnings": [], "omitted": 1000000}')
    for position, warnings in sorted(validated.warnings.items()):
        row = position if validated.valid is None else validated.valid[position]
        for warning in warnings:
            count += 1
            if room > 0:
                text = json.dumps({"row": row, **warning._asdict()}).replace(
                    "\x7f", "\\u007f"
                )  # the standard allows only visible ASCII
                room -= len(text) + 2
                listed += [text] if room >= 0 else []
    return [(name, b'{"warnings": [%s], "omitted": %d}' % (", ".join(listed).encode(), count - len(listed)))]
