"""Answers that differ from the recording on purpose."""

from collections.abc import Mapping

BATCHING = "a model says how it is run: how many rows are predicted at once"
NOT_READY = "a model that is not served is not ready, which is no error"
VERSION = "the version of tabserve, which pyproject.toml sets"
CHANGES: Mapping[str, str] = {
    "pages-traceparent": "every response carries the trace context, not only those of predictions",
    "v2-kind-charset-ascii": "one rule for charsets: us-ascii is accepted by every protocol, as by /predict",
    "invocations-kind-*charset-ascii": "one rule for charsets: us-ascii is accepted by every protocol, as by /predict",
    "invocations-accept-text": "one rule for Accept: text/* takes CSV, as at /predict",
    "pages-model-numbers": BATCHING,
    "pages-model-homes": BATCHING,
    "pages-model-income": BATCHING,
    "pages-model-stars": BATCHING,
    "pages-model-sizes": BATCHING,
    "pages-model-flags": BATCHING,
    "pages-model-single": BATCHING,
    "pages-model-stars-batching": BATCHING,
    "native-body-byte-order-mark": "a byte order mark before JSON is skipped, as before CSV",
    "native-invalid-number-for-date": "a date may be a number of seconds or milliseconds since 1970",
    "native-invalid-bad-date": "a date of ISO 8601 is read whatever format the column has",
    "native-invalid-everything": "a date may be a number of seconds or milliseconds since 1970",
    "v1-invalid-rows": "a date may be a number of seconds or milliseconds since 1970",
    "native-path-slash": "a slash at the end of a path is ignored",
    "v1-models-slash": "a slash at the end of a path is ignored",
    "v1-status-slash": "a slash at the end of a path is ignored",
    "probe-*-slash": "a slash at the end of a path is ignored",
    "pages-path-slash": "a slash at the end of a path is ignored",
    "pages-path-no-model": "a slash at the end of a path is ignored",
    "native-option-unknown": "there are more options: interval, set, explain",
    "arrow-unknown-option": "there are more options: interval, set, explain",
    "parquet-unknown-option": "there are more options: interval, set, explain",
    "native-option-near": "an option that is nearly right is named",
    "grpc-ready-other-version": NOT_READY,
    "grpc-ready-unknown": NOT_READY,
    "grpc-ready-far": NOT_READY,
    "grpc-ready-nameless": NOT_READY,
    "v2-server": VERSION,
    "v2-server-head": VERSION,
    "v2-server-slash": VERSION,
    "probe-version-get": VERSION,
    "probe-version-head": VERSION,
    "grpc-servermetadata": VERSION,
    "connection-no-host": "a request of HTTP/1.1 has exactly one Host header",
    "v1-explain": "KServe's :explain is a route; this version was stored without a background",
    "pages-docs-json": "the OpenAPI document lists every status of every operation",
    "pages-docs-json-head": "the OpenAPI document lists every status of every operation",
    "pages-docs-json-small": "the OpenAPI document lists every status of every operation",
}
"""The name of a request, or a pattern such as `pages-*`, and why its answer is another one now."""
