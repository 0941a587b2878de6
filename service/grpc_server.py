"""The Open Inference Protocol over gRPC, on a port of its own that the workers share.

Imported only where TABSERVE_GRPC_PORT is set: gRPC is an extra of the installation.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from models.json_text import dumps
from service import tracing
from service.data_plane import LARGE_BYTES
from service.errors import BadBody, ClientDisconnected, RequestError
from service.http.asgi import Lane, not_ready
from service.protocols import error_text, oip_messages, oip_rows, oip_signature
from service.protocols.oip_messages import MESSAGES, SERVICE
from service.protocols.oip_signature import Signature
from service.protocols.oip_tensors import Inference
from service.routes.oip import EXTENSIONS, index, metadata, quickly, served
from service.version import version

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
MOST_DETAILS = 4000  # bytes of an error's text; it travels in a header, and clients refuse large ones
PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
INFER = ("POST", f"/{SERVICE}/ModelInfer")
STOP_S = 1.0  # for what is still being sent when everything is answered

log = logging.getLogger("tabserve.grpc")


@dataclass(slots=True)
class Call:
    """One call: what is known of it besides its message."""

    request_id: str
    deadline: float
    size: int
    model: str | None = None  # whom it is counted for


Answer = Callable[[Any, Call], Awaitable[Any]]


class GrpcServer:
    """`drain` when the server begins to stop, `stop` when everything in flight is answered."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.plane = lane.plane
        self.signatures = {name: Signature(model) for name, model in self.plane.models.items()}
        self._health = health.aio.HealthServicer()
        options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self.plane.settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
        ]
        self._server = grpc.aio.server(options=options)
        answers: dict[str, Answer] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "RepositoryIndex": self.repository_index,
            "ModelInfer": self.model_infer,
        }
        handlers = {name: self._handler(name, answer) for name, answer in answers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen, and the port: another one where it is 0."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        bound: int = self._server.add_insecure_port(address)
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        log.info("gRPC listens", extra={"address": address})
        return bound

    async def drain(self) -> None:
        """Tell those who watch that no calls should come any more; they are answered still."""
        await self._health.enter_graceful_shutdown()

    async def stop(self) -> None:
        await self._server.stop(STOP_S)

    def _handler(self, name: str, answer: Answer) -> Any:
        """Bytes in, bytes out: what cannot be read is the client's mistake, and gRPC would make it ours."""
        kind = MESSAGES[f"{name}Request"]

        def parse(body: bytes) -> Any:
            try:
                return kind.FromString(body)
            except DecodeError as error:
                raise BadBody(f"it is no {kind.DESCRIPTOR.name} ({error})") from None

        async def handle(body: bytes, context: Any) -> bytes:
            started, lane = time.monotonic(), self.lane
            headers = {key.encode(): value for key, value in context.invocation_metadata() or () if key in HEADERS}
            headers = {key: value.encode() if isinstance(value, str) else value for key, value in headers.items()}
            seconds = min(lane.settings.timeout_s, context.time_remaining() or math.inf)
            call = Call(lane.request_id(headers).decode("latin-1"), started + seconds, len(body))
            failed: RequestError | None = None
            lane.state.request_started()
            try:
                asked = await lane.plane.beside(parse, body) if len(body) > LARGE_BYTES else parse(body)
                context.set_trailing_metadata((("x-request-id", call.request_id),))
                reply: bytes = (await answer(asked, call)).SerializeToString()
                return reply
            except RequestError as error:
                failed = error
            except asyncio.CancelledError:
                failed = ClientDisconnected()
                raise
            except Exception:
                failed = lane.unexpected(call.request_id.encode("latin-1"))
            finally:
                lane.state.request_finished()
                if call.model is not None:
                    trace = tracing.read(headers) if b"traceparent" in headers else None
                    status = 200 if failed is None else failed.status
                    lane.tell("grpc", call.model, status, started, call.request_id.encode("latin-1"), trace, INFER)
            more = [(key.decode(), value.decode("latin-1")) for key, value in failed.headers]
            code = CODES.get(failed.status, grpc.StatusCode.INTERNAL)
            await context.abort(code, details(failed), (("x-request-id", call.request_id), *more))
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(handle)

    # The calls

    async def server_live(self, asked: Any, call: Call) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def server_ready(self, asked: Any, call: Call) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self.lane.state.passes_probes)

    async def model_ready(self, asked: Any, call: Call) -> Any:
        if self.lane.state.passes_probes:
            served(self.plane, asked.name, asked.version)
        return MESSAGES["ModelReadyResponse"](ready=self.lane.state.passes_probes)

    async def server_metadata(self, asked: Any, call: Call) -> Any:
        return MESSAGES["ServerMetadataResponse"](name="tabserve", version=version(), extensions=EXTENSIONS[1:])

    async def model_metadata(self, asked: Any, call: Call) -> Any:
        told = metadata(served(self.plane, asked.name, asked.version))
        properties = told.pop("properties")
        reply = MESSAGES["ModelMetadataResponse"](**told)
        oip_messages.fill(reply.parameters, {name: dumps(value).decode() for name, value in properties.items()})
        return reply

    async def repository_index(self, asked: Any, call: Call) -> Any:
        return MESSAGES["RepositoryIndexResponse"](models=index(self.plane))

    async def model_infer(self, asked: Any, call: Call) -> Any:
        lane, plane = self.lane, self.plane
        if not lane.state.admits_requests:
            raise not_ready(lane.state)
        model = served(plane, asked.model_name, asked.model_version)
        call.model = model.name
        signature, large = self.signatures[model.name], call.size > LARGE_BYTES
        request: Inference = await plane.beside(oip_messages.read, asked) if large else oip_messages.read(asked)
        signature.check_outputs(request)
        accepted, answers = quickly(plane.find(model.name), signature, request) or await plane.predict_checked(
            model.name,
            lambda schema: oip_rows.accept(schema, request, plane.settings.max_rows),
            large=large,
            deadline=call.deadline,
            request_id=call.request_id,
        )
        reply = MESSAGES["ModelInferResponse"](model_name=model.name, model_version=model.version, id=asked.id)
        raw = bool(asked.raw_input_contents)
        said = oip_signature.said(accepted, skip=request.skip)
        oip_messages.write(reply, signature.answer(accepted, answers, request), said, raw=raw)
        return reply


HEADERS = frozenset(["x-request-id", "traceparent", "tracestate"])


def details(error: RequestError) -> str:
    """The error in one text, cut to what fits a header, where each byte that is not ASCII takes three."""
    return unquote(quote(error_text.sentence(error), safe=PRINTABLE)[:MOST_DETAILS], errors="ignore")
