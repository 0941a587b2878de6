"""The gRPC server: the Open Inference Protocol on a separate port, which the workers share.

Imported only if TABSERVE_GRPC_PORT is set, because gRPC is an optional dependency.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2

from models.json_text import dumps
from service.access.caller import Access
from service.access_control import PROXY_HEADERS, PROXY_PREFIX
from service.data_plane import LARGE_BODY_BYTES
from service.errors import BadBody, ClientDisconnected, NotFound, NotReady, RequestError
from service.exchange import Exchange, ServerContext
from service.grpc_health_calls import health_handlers
from service.grpc_messages import FLOW_CONTROL, IncomingMessage, MessageReader, unary_handler
from service.grpc_tls import server_credentials
from service.protocols import error_text, oip_messages, oip_signature
from service.protocols.oip_messages import MESSAGES, SERVICE
from service.protocols.oip_options import requested_options
from service.protocols.oip_signature import ModelSignature
from service.protocols.oip_tensors import InferRequest
from service.routes.oip import EXTENSIONS, infer, model_metadata, visible_index
from service.routes.version_changes import set_served
from service.server.tls_files import TlsFiles
from service.traffic_split import CLIENT_KEY, KEY_BYTES
from service.version import version

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
MAX_DETAILS_BYTES = 4000  # maximum size of an error message in a header, because clients refuse large headers
PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
STOP_S = 1.0  # time for responses that are still being sent

log = logging.getLogger("tabserve.grpc")


class GrpcExchange(Exchange):
    """The exchange of a gRPC call. size: the bytes of its message, once it has been read."""

    method = "POST"
    path = ""
    size = 0

    def __init__(self, context: ServerContext, name: str, call: Any) -> None:
        super().__init__(context, metadata_of(call), time.monotonic(), "grpc")
        self.path = f"/{SERVICE}/{name}"
        self._call = call

    @property
    def client(self) -> str:
        address: str = self._call.peer()  # such as ipv4:127.0.0.1:49152 or ipv6:%5B::1%5D:49152
        return unquote(address).partition(":")[2].rpartition(":")[0].strip("[]")

    def cancelled(self, error: asyncio.CancelledError) -> None:
        """The client has cancelled the call."""
        self.failed = ClientDisconnected()
        raise error


Handler = Callable[[Any, GrpcExchange], Awaitable[Any]]


class Rpc(NamedTuple):
    """An RPC. access: as in `Route`. model: the field of its message that names a model."""

    access: Access
    handler: Handler
    model: str = ""


class GrpcServer:
    """The gRPC server. Call `drain` when draining starts, `refuse` after the grace period, `stop` when no call is in
    flight."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.plane = context.plane
        self._health = health.aio.HealthServicer()
        self._reader = MessageReader(self.plane.memory, self.plane.settings.max_body_bytes)
        options = [
            *FLOW_CONTROL,
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self.plane.settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
        ]
        self._server = grpc.aio.server(options=options)
        self.rpcs = {
            "ServerLive": Rpc("open", self.server_live),
            "ServerReady": Rpc("open", self.server_ready),
            "ModelReady": Rpc("predict", self.model_ready, "name"),
            "ServerMetadata": Rpc("predict", self.server_metadata),
            "ModelMetadata": Rpc("predict", self.model_metadata, "name"),
            "RepositoryIndex": Rpc("admin", self.repository_index),
            "RepositoryModelLoad": Rpc("admin", self.repository_model_load, "model_name"),
            "RepositoryModelUnload": Rpc("admin", self.repository_model_unload, "model_name"),
            "ModelInfer": Rpc("predict", self.model_infer, "model_name"),
        }
        handlers = {name: self._rpc_handler(name, rpc) for name, rpc in self.rpcs.items()}
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, handlers),
                health_handlers(self._health, self._reader),
            )
        )

    async def start(self, host: str, port: int, tls: TlsFiles | None = None) -> int:
        """Listen on a port, or on a free port if it is 0. Returns the port. tls: the TLS files of the HTTP server; None
        without TLS."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if tls is None:
            bound: int = self._server.add_insecure_port(address)
        else:
            bound = self._server.add_secure_port(address, server_credentials(tls))
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        log.info("gRPC server listening", extra={"address": address})
        return bound

    async def drain(self) -> None:
        """Report NOT_SERVING to clients that watch the health service. Calls are still answered."""
        await self._health.enter_graceful_shutdown()

    def refuse(self, seconds: float) -> None:
        """Accept no more calls. Calls in flight have this many seconds to finish."""
        self._stopping = asyncio.ensure_future(self._server.stop(seconds))

    async def stop(self) -> None:
        await self._server.stop(STOP_S)

    def _rpc_handler(self, name: str, rpc: Rpc) -> Any:
        """The handler of one RPC, from bytes to bytes.

        It parses the message itself, because gRPC reports an invalid message as an error of the server.
        """
        message_type = MESSAGES[f"{name}Request"]

        def parse(body: bytes) -> Any:
            try:
                return message_type.FromString(body)
            except DecodeError as error:
                raise BadBody(f"it is not a valid {message_type.DESCRIPTOR.name} ({error})") from None

        async def handle(context: Any) -> bytes:
            state = self.context.state
            exchange = GrpcExchange(self.context, name, context)
            state.request_started()
            incoming = IncomingMessage(self._reader, context)
            try:
                exchange.admit(rpc.access, always=name != "ModelInfer")
                remaining = context.time_remaining()
                exchange.deadline = exchange.started + min(exchange.timeout(), remaining or math.inf)
                body = await incoming.read(self.context.settings.timeout_s)
                exchange.size = len(body)
                await self._wait_for_turn(exchange)
                large = len(body) > LARGE_BODY_BYTES
                message = await self.plane.run_in_thread(parse, body) if large else parse(body)
                del body  # `message` has its own copy of the data
                if rpc.model and exchange.caller.models is not None:
                    exchange.check_model(getattr(message, rpc.model), served=rpc.access != "admin")
                context.set_trailing_metadata((("x-request-id", exchange.id_text),))
                response: bytes = (await rpc.handler(message, exchange)).SerializeToString()
            except BaseException as error:
                exchange.fail(error)
            finally:
                incoming.release()
                state.request_finished()
                exchange.record(200 if exchange.failed is None else exchange.failed.status)
            failed = exchange.failed
            if failed is None:
                return response
            headers = [(key.decode(), value.decode("latin-1")) for key, value in failed.headers]
            code = CODES.get(failed.status, grpc.StatusCode.INTERNAL)
            await context.abort(code, error_details(failed), (("x-request-id", exchange.id_text), *headers))
            raise AssertionError("abort raises")

        return unary_handler(handle)

    async def _wait_for_turn(self, exchange: GrpcExchange) -> None:
        """Wait for the client's turn if clients take turns, as HTTP requests do."""
        turns, client = self.context.turns, exchange.caller.name
        if turns is not None and not turns.admits(client, exchange.size, time.monotonic()):
            await turns.wait(client, exchange.size)

    async def server_live(self, message: Any, exchange: GrpcExchange) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def server_ready(self, message: Any, exchange: GrpcExchange) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self.context.state.passes_probes)

    async def model_ready(self, message: Any, exchange: GrpcExchange) -> Any:
        """A model that is unknown or still loading is not ready. This is not an error: clients poll until it is."""
        ready = self.context.state.passes_probes
        try:
            self.plane.snapshot.find(message.name, message.version)
        except (NotFound, NotReady):
            ready = False
        return MESSAGES["ModelReadyResponse"](ready=ready)

    async def server_metadata(self, message: Any, exchange: GrpcExchange) -> Any:
        return MESSAGES["ServerMetadataResponse"](name="tabserve", version=version(), extensions=EXTENSIONS[1:])

    async def model_metadata(self, message: Any, exchange: GrpcExchange) -> Any:
        entry = self.plane.snapshot.entry(message.name)
        found = model_metadata(entry.find(message.version).model, [*entry.versions])
        properties = found.pop("properties")
        response = MESSAGES["ModelMetadataResponse"](**found)
        oip_messages.add_parameters(
            response.parameters, {name: dumps(value).decode() for name, value in properties.items()}
        )
        return response

    async def repository_index(self, message: Any, exchange: GrpcExchange) -> Any:
        models = await visible_index(exchange, message.ready)
        return MESSAGES["RepositoryIndexResponse"](models=models)

    async def repository_model_load(self, message: Any, exchange: GrpcExchange) -> Any:
        await set_served(exchange, message.model_name, served=True)
        return MESSAGES["RepositoryModelLoadResponse"]()

    async def repository_model_unload(self, message: Any, exchange: GrpcExchange) -> Any:
        await set_served(exchange, message.model_name, served=False)
        return MESSAGES["RepositoryModelUnloadResponse"]()

    async def model_infer(self, message: Any, exchange: GrpcExchange) -> Any:
        plane, large = self.plane, exchange.size > LARGE_BODY_BYTES
        entry = plane.snapshot.entry(message.model_name)
        if entry.split and not message.model_version:
            found = entry.version_for(exchange.headers.get(CLIENT_KEY) or tensors_key(message))
        else:
            found = entry.find(message.model_version)
        exchange.served = found
        read = oip_messages.read
        inference: InferRequest = await plane.run_in_thread(read, message) if large else read(message)
        served = plane.extended(found, requested_options(inference))
        rows, predicted = await infer(plane, served, inference, exchange.prediction_context, large=large)
        response = MESSAGES["ModelInferResponse"](model_name=served.name, model_version=served.version, id=message.id)
        outputs = served.compiled(ModelSignature).response_tensors(rows, predicted, inference)
        parameters = oip_signature.response_parameters(rows, skip=inference.skip)
        oip_messages.write(response, outputs, parameters, raw=bool(message.raw_input_contents))
        return response


HEADERS = frozenset(
    [
        *("authorization", "traceparent", "tracestate", "x-api-key", "x-client-key", "x-request-id"),
        *(name.decode() for name in PROXY_HEADERS),
    ]
)


def tensors_key(message: Any) -> bytes:
    """The bytes that select the version for a request without a client key: its tensors."""
    key = b""
    for part in chain((tensor.SerializeToString() for tensor in message.inputs), message.raw_input_contents):
        key += part[: KEY_BYTES - len(key)]
        if len(key) == KEY_BYTES:
            break
    return key


def metadata_of(context: Any) -> dict[bytes, bytes]:
    """The metadata of a call as headers, without those that are not used."""
    pairs = context.invocation_metadata() or ()
    used = [(key, value) for key, value in pairs if key in HEADERS or key.startswith(PROXY_PREFIX.decode())]
    return {key.encode(): value.encode() if isinstance(value, str) else value for key, value in used}


def error_details(error: RequestError) -> str:
    """The error message, truncated to fit into a header, where a byte that is not ASCII takes three characters."""
    return unquote(quote(error_text.sentence(error), safe=PRINTABLE)[:MAX_DETAILS_BYTES], errors="ignore")
