"""The state of one server process, from loading to closed: who may send requests, and how many are in flight."""


class ServerState:
    """Starts as not ready. All methods run in the event loop of the server.

    Ready: the models are loaded. Draining: probes report unready, requests are still answered. Closed: new requests
    are refused, those in flight are finished.
    """

    __slots__ = ("_closed", "_draining", "_inflight", "_ready")

    def __init__(self) -> None:
        self._ready = False
        self._draining = False
        self._closed = False
        self._inflight = 0

    @property
    def ready(self) -> bool:
        """Whether the models are loaded."""
        return self._ready

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop; true once it is closed."""
        return self._draining

    @property
    def closed(self) -> bool:
        """Whether new requests are refused."""
        return self._closed

    @property
    def inflight(self) -> int:
        """The number of requests that have started and not finished."""
        return self._inflight

    @property
    def admits_requests(self) -> bool:
        """Whether a new request may be answered."""
        return self._ready and not self._closed

    @property
    def passes_probes(self) -> bool:
        """Whether a readiness probe succeeds: a load balancer should send requests."""
        return self._ready and not self._draining

    def mark_ready(self) -> None:
        self._ready = True

    def begin_draining(self) -> None:
        self._draining = True

    def close(self) -> None:
        self._draining = True
        self._closed = True

    def request_started(self) -> None:
        self._inflight += 1

    def request_finished(self) -> None:
        self._inflight -= 1
