"""The gRPC health service, with limits for the messages that it receives."""

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2

from service.errors import RequestError
from service.grpc_messages import IncomingMessage, MessageReader

HEALTH = "grpc.health.v1.Health"
MAX_BYTES = 4096  # maximum size of a message, which is the name of a service and stays in memory during a watch
READ_S = 10.0


def health_handlers(servicer: health.aio.HealthServicer, reader: MessageReader) -> Any:
    """The handlers of the health service."""

    async def message_of(context: Any) -> Any:
        incoming = IncomingMessage(reader, context)
        try:
            body = await incoming.read(READ_S)
            if len(body) <= MAX_BYTES:
                return health_pb2.HealthCheckRequest.FromString(body)
            details = f"the name of the service has more than {MAX_BYTES} bytes"
        except (RequestError, DecodeError) as error:
            details = str(error)
        finally:
            incoming.release()
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, details)
        raise AssertionError("abort raises")

    async def check(_: Any, context: Any) -> Any:
        return await servicer.Check(await message_of(context), context)

    async def watch(_: Any, context: Any) -> None:
        await servicer.Watch(await message_of(context), context)

    serialize = health_pb2.HealthCheckResponse.SerializeToString
    handlers = {
        "Check": grpc.stream_unary_rpc_method_handler(check, response_serializer=serialize),
        "Watch": grpc.stream_stream_rpc_method_handler(watch, response_serializer=serialize),
    }
    return grpc.method_handlers_generic_handler(HEALTH, handlers)
