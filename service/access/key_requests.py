"""Counts the requests of each key for the metrics, and logs refused keys."""

import logging

from service.errors import Forbidden, Unauthorized
from service.metrics import Metrics
from service.request import Request
from service.request_observer import RequestObserver

MAX_NAMES = 200  # maximum number of keys that are counted separately; each has a time series for each status
WITHOUT_KEY = "none"
OTHER = "other"
log = logging.getLogger("tabserve.access")


class KeyRequests(RequestObserver):
    """Counts requests by the key's name, so that a key and its replacement are counted together."""

    def __init__(self, metrics: Metrics) -> None:
        self._counts = metrics.count_keys()
        self._labels = {"": WITHOUT_KEY}

    def observe(self, request: Request, status: int, seconds: float) -> None:
        failed = request.failed
        if failed is not None and (
            isinstance(failed, Forbidden) or (isinstance(failed, Unauthorized) and failed.invalid)
        ):
            identity = {"client": request.client, "request_id": request.request_id.decode("latin-1")}
            # the log limits the number of these lines
            log.warning("key refused", extra={"reason": failed.detail, **identity})
        name = request.caller.name
        label = self._labels.get(name)
        if label is None:
            label = self._labels[name] = name if len(self._labels) <= MAX_NAMES else OTHER
        key = label, status
        self._counts[key] = self._counts.get(key, 0) + 1
