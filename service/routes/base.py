"""What every route is: a request read whole goes in, a reply comes out, and an error in the form of its protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from models.tabular_model import TabularModel
from service.batcher import DisconnectWaiter
from service.data_plane import DataPlane
from service.errors import PROBLEM, RequestError
from service.http.negotiation import JSON
from service.http.types import Header
from service.settings import Settings


@dataclass(slots=True)
class Request:
    """A request whose body is there."""

    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    request_id: str
    deadline: float  # on the clock of time.monotonic
    gone: DisconnectWaiter | None


class Reply(NamedTuple):
    """An answer, whole."""

    body: bytes = b""
    kind: bytes = JSON
    status: int = 200
    headers: Sequence[Header] = ()


class Route:
    """One address. `protocol` is the label of its metrics, `model` the served model they are counted for, if any.

    The lane sees to methods, limits, deadlines, metrics and logs; a route decodes, asks the data plane and encodes.
    """

    protocol: ClassVar[str]
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    unready: ClassVar[bool] = False  # whether it is asked also before the models are loaded and while draining
    probe: ClassVar[bool] = False  # whether it tells that the server is ready: not while draining

    def __init__(self, plane: DataPlane, model: str | None = None) -> None:
        self.plane = plane
        self.model = model

    async def answer(self, request: Request) -> Reply:
        """Raises RequestError."""
        raise NotImplementedError

    def refuse(self, error: RequestError) -> Reply:
        """The error in the form of this protocol."""
        return problem(error)


def problem(error: RequestError) -> Reply:
    """The problem document of the native API."""
    return Reply(error.document(), PROBLEM, error.status, error.headers)


class Family(Protocol):
    """The routes of one protocol: those that can be listed beforehand, and the search for all others of its prefix."""

    def listed(self, plane: DataPlane) -> Mapping[str, Route]:
        """Paths that are asked most, known when the server starts."""

    def find(self, plane: DataPlane, path: str) -> Route | None:
        """The route of another path of this protocol (versions, labels, models that are not there), or None where the
        path is not of this protocol. A path of the protocol that leads nowhere is a route whose answer is an error."""

    def paths(self, models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
        """The paths of /docs.json."""
