"""The gRPC door: Run, a streaming Put, health and reflection,
in the same process and loop as the REST door.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from imgprep.serve import messages
from imgprep.serve.answers import Refusal, read_json
from imgprep.serve.jobs import Jobs
from imgprep.serve.operations import MEDIA_TYPES, checked
from imgprep.serve.refusals import OUTAGES, outage
from imgprep.serve.service import Service

SERVICE_NAME = f"{messages.PACKAGE}.{messages.SERVICE}"
# What is wrong with a picture or an option is INVALID_ARGUMENT.
CODES = {
    "timeout": grpc.StatusCode.DEADLINE_EXCEEDED,
    "too_slow": grpc.StatusCode.DEADLINE_EXCEEDED,
    "missing_file": grpc.StatusCode.NOT_FOUND,
    "no_such_operation": grpc.StatusCode.NOT_FOUND,
    "no_key": grpc.StatusCode.UNAUTHENTICATED,
    "not_allowed": grpc.StatusCode.PERMISSION_DENIED,
    "busy": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "too_many_requests": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "too_large": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
Answer = Callable[[Any, Any], Awaitable[Any]]


def refusing(answer: Answer) -> Answer:
    """A refusal as a gRPC status: its sentence as details,
    its reason (and `retry-after`, in seconds) beside it as trailing metadata.

    Records or store that are away are UNAVAILABLE, which gRPC's own clients try again.
    """

    async def call(request: Any, context: Any) -> Any:
        try:
            return await answer(request, context)
        except Refusal as e:
            refusal = e
            code = CODES.get(refusal.reason, grpc.StatusCode.INVALID_ARGUMENT)
        except OUTAGES as e:
            refusal = outage(e)
            is_away = refusal.reason == "busy"
            code = grpc.StatusCode.UNAVAILABLE if is_away else CODES[refusal.reason]
        headers = {"reason": refusal.reason} | refusal.all_headers()
        context.set_trailing_metadata([(name.lower(), text) for name, text in headers.items()])
        await context.abort(code, refusal.body()["error"])

    return call


class Media:
    """The two calls, over the same service as every other door."""

    def __init__(self, service: Service, jobs: Jobs):
        self.service = service
        self.jobs = jobs

    def _allow(self, context: Any, role: str) -> None:
        given = dict(context.invocation_metadata())
        self.service.access.allow(given.get("authorization"), role)

    async def run(self, request: Any, context: Any) -> Any:
        self._allow(context, "read")
        operation = self.service.operation(request.op)
        try:
            given = read_json(request.options_json or "{}")
        except ValueError as e:
            raise Refusal("wrong_option", f"options_json is no JSON: {e}") from None
        if not isinstance(given, dict):
            raise Refusal("wrong_option", 'options_json is an object: {"by": 30}')
        format = request.format.upper() or "JPEG"
        if format not in MEDIA_TYPES:
            raise Refusal(
                "wrong_option", f"format: one of {', '.join(MEDIA_TYPES)}, not {format!r}"
            )
        options = checked(operation, given)
        result = await self.service.run(
            operation.name, request.data, options, format, request.quality or None
        )
        return messages.RunReply(data=result.body, media_type=result.media_type)

    async def put(self, pieces: AsyncIterator[Any], context: Any) -> Any:
        self._allow(context, "write")
        most = self.service.settings.max_bytes
        data = bytearray()
        async for piece in pieces:
            data += piece.data
            if len(data) > most:
                raise Refusal("too_large", f"at most {most:,} bytes")
        name, record, is_new = await self.service.objects.put(data)
        await self.jobs.begin(name, self.jobs.usual)
        return messages.PutReply(id=name, is_new=is_new, record_json=json.dumps(record))


async def serve_grpc(service: Service, jobs: Jobs, host: str, port: int) -> tuple[Any, int]:
    """Listen; the server and its port. Stop it by `await server.stop(seconds)`."""
    options = [
        # 64 KiB more: the message has fields beside the picture.
        ("grpc.max_receive_message_length", service.settings.max_bytes + (64 << 10)),
        ("grpc.max_concurrent_streams", 256),
    ]
    server = grpc.aio.server(options=options)
    media = Media(service, jobs)
    calls = {
        "Run": grpc.unary_unary_rpc_method_handler(
            refusing(media.run),
            request_deserializer=messages.RunRequest.FromString,
            response_serializer=messages.RunReply.SerializeToString,
        ),
        "Put": grpc.stream_unary_rpc_method_handler(
            refusing(media.put),
            request_deserializer=messages.Piece.FromString,
            response_serializer=messages.PutReply.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE_NAME, calls)])
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection(
        [SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    bound = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server, bound


class Client:
    """A client in three lines: `Client("127.0.0.1:8001").run("fit", data, max_side=800)`."""

    def __init__(self, address: str, key: str = ""):
        self._channel = grpc.insecure_channel(address)
        self._metadata = [("authorization", f"Bearer {key}")] if key else []

    def run(self, op: str, data: bytes, *, format: str = "", **options: Any) -> bytes:
        """The bytes of the result. Raises grpc.RpcError with the sentence as details."""
        request = messages.RunRequest(
            op=op, data=data, options_json=json.dumps(options), format=format
        )
        call = self._channel.unary_unary(
            f"/{SERVICE_NAME}/Run",
            request_serializer=messages.RunRequest.SerializeToString,
            response_deserializer=messages.RunReply.FromString,
        )
        return call(request, metadata=self._metadata).data

    def put(self, data: bytes, piece_bytes: int = 1 << 20) -> str:
        """Send a picture in pieces; its id."""
        starts = range(0, len(data), piece_bytes)
        pieces = (messages.Piece(data=data[at : at + piece_bytes]) for at in starts)
        call = self._channel.stream_unary(
            f"/{SERVICE_NAME}/Put",
            request_serializer=messages.Piece.SerializeToString,
            response_deserializer=messages.PutReply.FromString,
        )
        return call(pieces, metadata=self._metadata).id

    def close(self) -> None:
        self._channel.close()
