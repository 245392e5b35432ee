"""Ladders of films in the store: kept as a result of several files, served as players ask for them.

A playlist names its segments beside itself, so a player that is given one address finds all of it.
Players send no key: theirs is a signed address, whose signature stands in the path and so goes on
to every file below it.
"""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from imgprep.io.stores import Store
from imgprep.serve.answers import Refusal, Result
from imgprep.serve.objects import Album
from imgprep.serve.places import file_place, file_type
from imgprep.serve.ranges import StoredBytes, answer_range
from imgprep.serve.refusals import STRICT
from imgprep.serve.service import Service

LADDER = "ladder"
MASTER = "master.m3u8"
CACHED_A_DAY = "private, max-age=86400, immutable"
PLAYED_S = 86_400


@dataclass
class LadderFiles:
    """A ladder that was made, in a folder that goes when it is closed."""

    holder: tempfile.TemporaryDirectory
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return Path(self.holder.name)

    @property
    def folder(self) -> Path:
        return self.home / "ladder"

    def files(self) -> dict[str, int]:
        """Path in the ladder -> bytes, in the order of their names."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in found}

    def close(self) -> None:
        self.holder.cleanup()


async def keep_ladder(album: Album, name: str, job: str, made: LadderFiles) -> dict[str, str]:
    """Put a ladder into the store as the result `job` of a film; where its parts are.

    Its record comes last: a ladder that is known is whole. Refusal (missing_file), and nothing is
    left, where the film was deleted meanwhile.
    """
    files = await asyncio.to_thread(made.files)
    await asyncio.to_thread(store_ladder, album.store, job, made.folder, files)
    facts = {key: made.row[key] for key in ("duration_s", "segments", "renditions", "note")}
    places = {"playlist": MASTER, "poster": "poster.jpg"}
    if "thumbnails.vtt" in files:
        places["thumbnails"] = "thumbnails.vtt"
    addresses = {what: f"/v1/results/{job}/{path}" for what, path in places.items()}
    told = {**addresses, **facts, "play": f"/v1/results/{job}/play", "files": files}
    body = Result(json.dumps(told).encode(), "application/json")
    # Asked again: making a ladder takes minutes, in which the film may have been deleted.
    try:
        await album.record(name)
        await album.keep(name, job, body, what=LADDER, files=files)
    except Refusal:
        await album.results.drop(job)
        await album.results.remove([file_place(job, path) for path in files])
        raise
    return addresses


def store_ladder(store: Store, job: str, folder: Path, files: dict[str, int]) -> None:
    for path in files:
        data = (folder / path).read_bytes()
        store.put(file_place(job, path), data, content_type=file_type(path))


def add_ladders(app: FastAPI, service: Service) -> None:
    """The routes of ladders' files, and of addresses for players."""

    @app.get("/v1/results/{job}/play", tags=["films"])
    async def get_play(request: Request, job: str) -> JSONResponse:
        """Addresses of a ladder for a player, which need no key for a day."""
        service.access.allow(request.headers.get("authorization"), "read")
        files = await ladder_files(service.objects, job)
        expires = int(time.time()) + PLAYED_S
        home = service.access.signed_folder(f"/v1/played/{job}", expires)
        told: dict[str, Any] = {"playlist": f"{home}/{MASTER}", "poster": f"{home}/poster.jpg"}
        if "thumbnails.vtt" in files:
            told["thumbnails"] = f"{home}/thumbnails.vtt"
        return JSONResponse(told | {"expires": expires}, headers=STRICT)

    @app.get("/v1/results/{job}/{path:path}", tags=["films"])
    async def get_ladder_file(request: Request, job: str, path: str) -> Response:
        """A file of a ladder: a playlist, a segment, thumbnails; also a range of it."""
        service.access.allow(request.headers.get("authorization"), "read")
        return await answer_file(service.objects, request, job, path)

    @app.get("/v1/played/{job}/{expires}/{signature}/{path:path}", tags=["films"])
    async def get_played(request: Request, job: str, expires: str, signature: str, path: str) -> Response:
        """The same by a signed address, for players that send no key."""
        folder = f"/v1/played/{job}"
        if not service.access.is_signed_folder(folder, expires, signature):
            raise Refusal("no_key", f"the address has expired: ask /v1/results/{job}/play anew")
        return await answer_file(service.objects, request, job, path)


async def ladder_files(album: Album, job: str) -> dict[str, int]:
    known = await asyncio.to_thread(album.records.get, job)
    if known is None or known.get("what") != LADDER:
        raise Refusal("missing_file", "there is no such ladder")
    return known["files"]


async def answer_file(album: Album, request: Request, job: str, path: str) -> Response:
    files = await ladder_files(album, job)
    # Only what the ladder lists: a client's path never becomes one of the store.
    if path not in files:
        raise Refusal("missing_file", "the ladder has no such file")
    headers = {"ETag": f'"{job[:32]}-{path}"', "Cache-Control": CACHED_A_DAY}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    stored = StoredBytes(album.store, file_place(job, path), files[path], file_type(path))
    return await answer_range(stored, request.headers.get("range", ""), headers)
