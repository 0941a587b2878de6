"""The state of one server process, from loading to closed: who may send requests, and how many are in flight."""


class ServerState:
    """Starts as not ready. All methods run in the event loop of the server.

    Ready: the models are loaded. Draining: probes report unready, requests are still answered. Closed: new requests
    are refused, those in flight are finished. The attributes are read by anyone and changed by the methods alone:
    `admits_requests`, whether a new request may be answered, and `passes_probes`, whether a load balancer should send
    requests, are read for every request.
    """

    __slots__ = ("admits_requests", "closed", "draining", "inflight", "passes_probes", "ready")

    def __init__(self) -> None:
        self.ready = False  # whether the models are loaded
        self.draining = False  # whether the server is about to stop; true once it is closed
        self.closed = False  # whether new requests are refused
        self.inflight = 0  # requests that have started and not finished
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
