"""The state of a server process: loading, ready, draining or closed, and the number of requests in flight."""


class ServerState:
    """The state, which is not ready at first. All methods run in the server's event loop.

    Ready: the models are loaded. Draining: readiness probes fail, requests are still answered. Closed: new requests are
    refused, and requests in flight are finished. Only the methods change the attributes. `admits_requests` (a new
    request may be answered) and `passes_probes` (load balancers may send requests) are read for every request.
    """

    __slots__ = ("admits_requests", "closed", "draining", "inflight", "passes_probes", "ready")

    def __init__(self) -> None:
        self.ready = False  # the models are loaded
        self.draining = False  # the server is about to stop; remains true when closed
        self.closed = False  # new requests are refused
        self.inflight = 0  # requests that have started but not finished
        self._derive()

    def _derive(self) -> None:
        self.admits_requests = self.ready and not self.closed
        self.passes_probes = self.ready and not self.draining

    def mark_ready(self) -> None:
        self.ready = True
        self._derive()

    def begin_draining(self) -> None:
        self.draining = True
        self._derive()

    def close(self) -> None:
        self.draining = self.closed = True
        self._derive()

    def request_started(self) -> None:
        self.inflight += 1

    def request_finished(self) -> None:
        self.inflight -= 1
