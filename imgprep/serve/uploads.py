"""Uploads that go on after a cut: the core of tus 1.0 (POST, HEAD,
PATCH, DELETE) over a folder of pieces.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import FastAPI, Request, Response

from imgprep.serve.answers import Refusal, whole_number
from imgprep.serve.jobs import Jobs
from imgprep.serve.service import Service

TUS_VERSION = "1.0.0"
TUS_HEADERS = {"Tus-Resumable": TUS_VERSION}  # of every answer
EXPIRES_S = 86_400
UPLOAD_NAME = re.compile("[0-9a-f]{32}")  # names of uploads


@dataclass(frozen=True)
class Upload:
    """One upload that has begun: its length, and a file with what has come."""

    path: Path
    length: int
    called: str = ""

    @property
    def offset(self) -> int:
        return self.path.stat().st_size


class Spool:
    """The folder of uploads that are not whole.

    Names are ours; nothing of the client's gets into a path.
    """

    def __init__(self, folder: str, *, max_bytes: int):
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self.folder.mkdir(parents=True, exist_ok=True)

    def begin(self, length: int, called: str = "") -> str:
        """The name of a new upload. called: what people call it. Refusal: too_large."""
        if length > self.max_bytes:
            raise Refusal("too_large", f"at most {self.max_bytes:,} bytes")
        # Here, since whoever uploads is there: no timer is needed.
        self.sweep()
        name = uuid.uuid4().hex
        (self.folder / name).write_bytes(b"")
        (self.folder / f"{name}.json").write_text(json.dumps({"length": length, "called": called}))
        return name

    def find(self, name: str) -> Upload:
        """Refusal (missing_file) for one that is not there, any longer or at all."""
        # isalnum: a name of ours is hex, and "../" is none.
        if name.isalnum():
            with contextlib.suppress(OSError, ValueError, KeyError):
                known = json.loads((self.folder / f"{name}.json").read_text())
                return Upload(self.folder / name, known["length"], known.get("called", ""))
        raise Refusal("missing_file", "there is no such upload: begin anew")

    async def append(self, upload: Upload, offset: int, pieces: AsyncIterator[bytes]) -> int:
        """Write what comes behind what is there, up to the length; the new offset.

        Kept also where it is cut. A connection that hangs is left behind by the next: Refusal
        (conflict) for what still comes by it.
        """
        if offset != upload.offset:
            raise Refusal("conflict", f"the upload stands at {upload.offset}, not at {offset}")
        with open(upload.path, "r+b") as file:
            file.seek(offset)
            async for piece in pieces:
                if file.tell() + len(piece) > upload.length:
                    raise Refusal(
                        "too_large", f"more than the {upload.length} bytes that were announced"
                    )
                await asyncio.to_thread(_write_behind, file, piece)
        return upload.offset

    def drop(self, name: str) -> None:
        for path in (self.folder / name, self.folder / f"{name}.json"):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Take away what nobody has gone on with for a day."""
        for path in self.folder.glob("*.json"):
            if not UPLOAD_NAME.fullmatch(path.stem):  # what somebody else laid here is not ours to remove
                continue
            with contextlib.suppress(OSError):
                if time.time() - os.stat(path.with_suffix("")).st_mtime > EXPIRES_S:
                    self.drop(path.stem)


def _write_behind(file: BinaryIO, piece: bytes) -> None:
    """Write at the end of an upload, unless another request has gone on with it."""
    if os.fstat(file.fileno()).st_size != file.tell():
        raise Refusal("conflict", "another request goes on with this upload")
    file.write(piece)
    file.flush()


def called_in(metadata: str) -> str:
    """The `filename` of tus's header Upload-Metadata; "" where there is none that can be read.

    >>> called_in("filetype dmlkZW8vbXA0,filename Z2FyZGVuLm1wNA==")
    'garden.mp4'
    """
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            with contextlib.suppress(ValueError):
                return base64.b64decode(value, validate=True).decode("utf-8")
    return ""


def add_uploads(app: FastAPI, service: Service, spool: Spool, jobs: Jobs) -> None:
    """The routes of tus below /v1/uploads.

    A whole upload becomes an object, told by the header `Object-Id`.
    """
    _add_beginning(app, service, spool)
    _add_going_on(app, service, spool, jobs)


def _add_beginning(app: FastAPI, service: Service, spool: Spool) -> None:
    @app.options("/v1/uploads", tags=["uploads"])
    async def tus_options() -> Response:
        """What is supported."""
        extensions = {
            "Tus-Version": TUS_VERSION,
            "Tus-Extension": "creation,termination,expiration",
        }
        limit = {"Tus-Max-Size": str(spool.max_bytes)}
        return Response(status_code=204, headers=TUS_HEADERS | extensions | limit)

    @app.post("/v1/uploads", tags=["uploads"])
    async def begin_upload(request: Request) -> Response:
        """Begin an upload of `Upload-Length` bytes; its address is in Location.

        `Upload-Metadata: filename …` is what people call it.
        """
        service.access.allow(request.headers.get("authorization"), "write")
        length = whole_number(request.headers.get("upload-length", ""))
        if length is None:
            raise Refusal("wrong_option", "Upload-Length: the number of bytes that will come")
        called = called_in(request.headers.get("upload-metadata", ""))
        name = spool.begin(length, called)
        return Response(status_code=201, headers=TUS_HEADERS | {"Location": f"/v1/uploads/{name}"})

    @app.head("/v1/uploads/{name}", tags=["uploads"])
    async def upload_offset(request: Request, name: str) -> Response:
        """How much has come."""
        service.access.allow(request.headers.get("authorization"), "write")
        upload = spool.find(name)
        known = {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length)}
        return Response(headers=TUS_HEADERS | known | {"Cache-Control": "no-store"})


def _add_going_on(app: FastAPI, service: Service, spool: Spool, jobs: Jobs) -> None:
    @app.patch("/v1/uploads/{name}", tags=["uploads"])
    async def go_on(request: Request, name: str) -> Response:
        """More bytes, from `Upload-Offset` on."""
        service.access.allow(request.headers.get("authorization"), "write")
        upload = spool.find(name)
        offset = whole_number(request.headers.get("upload-offset", ""))
        if request.headers.get("content-type") != "application/offset+octet-stream":
            raise Refusal("wrong_option", "Content-Type: application/offset+octet-stream")
        if offset is None:
            raise Refusal("wrong_option", "Upload-Offset: where these bytes begin")
        reached = await spool.append(upload, offset, request.stream())
        headers = TUS_HEADERS | {"Upload-Offset": str(reached)}
        if reached == upload.length:
            try:
                found, _, _ = await service.objects.put_file(
                    upload.path, called=upload.called
                )
                await jobs.begin(found, jobs.usual)
            except Refusal as refusal:
                # What is no picture is forgotten. Where records, store or workers are away, what
                # came is kept: a PATCH without bytes ends it later.
                if refusal.reason != "busy":
                    spool.drop(name)
                raise
            headers["Object-Id"] = found
            spool.drop(name)
        return Response(status_code=204, headers=headers)

    @app.delete("/v1/uploads/{name}", tags=["uploads"])
    async def give_up(request: Request, name: str) -> Response:
        """Forget an upload."""
        service.access.allow(request.headers.get("authorization"), "write")
        spool.find(name)
        spool.drop(name)
        return Response(status_code=204, headers=TUS_HEADERS)
