"""The messages of media.proto, made when they are first needed:
no generated file that wants its own protobuf.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "imgprep.v1"
SERVICE = "Media"
FIELD = descriptor_pb2.FieldDescriptorProto
TEXT, BYTES, NUMBER, FLAG = FIELD.TYPE_STRING, FIELD.TYPE_BYTES, FIELD.TYPE_UINT32, FIELD.TYPE_BOOL

# As in media.proto, which is for clients; a test holds them against each other.
MESSAGES = {
    "RunRequest": {
        "op": TEXT,
        "data": BYTES,
        "options_json": TEXT,
        "format": TEXT,
        "quality": NUMBER,
    },
    "RunReply": {"data": BYTES, "media_type": TEXT},
    "Piece": {"data": BYTES},
    "PutReply": {"id": TEXT, "is_new": FLAG, "record_json": TEXT},
}
# name -> request, reply, and whether the client streams.
CALLS = {"Run": ("RunRequest", "RunReply", False), "Put": ("Piece", "PutReply", True)}


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="media.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        # Numbered in their order: a field that is added comes
        # last, or old clients would misread all others.
        for number, (field, kind) in enumerate(fields.items(), 1):
            message.field.add(name=field, number=number, type=kind, label=FIELD.LABEL_OPTIONAL)
    service = file.service.add(name=SERVICE)
    for name, (request, reply, is_stream) in CALLS.items():
        method = service.method.add(name=name)
        method.input_type = f".{PACKAGE}.{request}"
        method.output_type = f".{PACKAGE}.{reply}"
        if is_stream:
            method.client_streaming = True
    return file


_descriptors = descriptor_pool.Default()
_descriptors.AddSerializedFile(_described().SerializeToString())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_descriptors.FindMessageTypeByName(f"{PACKAGE}.{name}"))


RunRequest = _message("RunRequest")
RunReply = _message("RunReply")
Piece = _message("Piece")
PutReply = _message("PutReply")
