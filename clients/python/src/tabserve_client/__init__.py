"""Python client of tabserve: predictions for rows, pandas and polars frames, and Arrow tables."""

from tabserve_client.async_client import AsyncClient
from tabserve_client.client import Client
from tabserve_client.errors import (
    AuthenticationError,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidInput,
    InvalidResponse,
    NotFound,
    Overloaded,
    PermissionDenied,
    RequestTooLarge,
    RowsNotValid,
    ServerError,
    TabserveError,
)
from tabserve_client.feedback import FeedbackReport
from tabserve_client.metadata import Feature, ModelSchema, ModelSummary
from tabserve_client.predictions import Explanation, Interval, LabelSet, Prediction, Predictions
from tabserve_client.row_issues import RowError, RowWarning

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Explanation",
    "Feature",
    "FeedbackReport",
    "Interval",
    "InvalidInput",
    "InvalidResponse",
    "LabelSet",
    "ModelSchema",
    "ModelSummary",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Prediction",
    "Predictions",
    "RequestTooLarge",
    "RowError",
    "RowWarning",
    "RowsNotValid",
    "ServerError",
    "TabserveError",
]
