"""Answers that differ from the recording on purpose."""

from collections.abc import Mapping

CHANGES: Mapping[str, str] = {
    "pages-traceparent": "every response carries the trace context, not only those of predictions",
}
"""The name of a request, or a pattern such as `pages-*`, and why its answer is another one now."""
