"""Objects and what is made of them: named by content, kept in a store, known in the records.

An object's id is the sha256 of the bytes that came; a result's is the hash of operation, options and object. So an
upload, a retry and an event that comes twice are the same thing, and the store is the cache that all replicas share.
"""

import asyncio
import hashlib
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imgprep.io.stores import Store
from imgprep.project import absolute
from imgprep.serve.answers import Refusal, Result
from imgprep.serve.records import Records
from imgprep.serve.workers import Pool

ID = re.compile(r"[0-9a-f]{64}")
OBJECT_TYPES = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "AVIF": "image/avif", "GIF": "image/gif",
    "TIFF": "image/tiff", "BMP": "image/bmp", "HEIF": "image/heif", "JPEG2000": "image/jp2",
}  # fmt: skip
SMALL_BYTES = 20_000_000  # what a request may hold in memory
UNKNOWN_TYPE = "application/octet-stream"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lay_beside(path: Path, target: Path) -> None:
    """A file at a second place, whole or not at all; it costs no copy where one disk has both."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f"{target.name}#1")
    half.unlink(missing_ok=True)
    try:
        os.link(path, half)
    except OSError:
        shutil.copyfile(path, half)
    half.replace(target)
    half.unlink(missing_ok=True)  # it stays where it was the target already


class Cache:
    """The newest results, up to so many bytes."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._kept: OrderedDict[str, Result] = OrderedDict()

    def get(self, name: str) -> Result | None:
        if name in self._kept:
            self._kept.move_to_end(name)
        return self._kept.get(name)

    def put(self, name: str, result: Result) -> None:
        if name in self._kept or len(result.body) > self.max_bytes:
            return
        self._kept[name] = result
        self.nbytes += len(result.body)
        while self.nbytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.nbytes -= len(oldest.body)

    def drop(self, names: list[str]) -> None:
        for name in names:
            gone = self._kept.pop(name, None)
            self.nbytes -= len(gone.body) if gone else 0


class Album:
    """Pictures that were put, and results that were made of them."""

    def __init__(
        self, store: Store, records: Records, pool: Pool, *, keep_metadata: bool = False, cache_bytes: int = 64 << 20
    ):
        self.store = store
        self.records = records
        self.pool = pool
        self.keep_metadata = keep_metadata
        self.cache = Cache(cache_bytes)
        self._making: dict[str, asyncio.Future[Result]] = {}

    async def put(self, data: bytes | bytearray, *, called: str = "") -> tuple[str, dict[str, Any], bool]:
        """Keep a picture: its id, its record, and whether it is new. Refusal where it is none.

        called: the name that people know it by.
        """
        name = hashlib.sha256(data).hexdigest()
        known = await asyncio.to_thread(self.records.get, name)
        if known is not None:
            return name, known, False
        given: dict[str, Any] = {"keep_metadata": self.keep_metadata, "called": called}
        body, facts = await self.pool.run("look", data, **given)
        record = self._new_record(facts, len(body), len(data))
        media_type = OBJECT_TYPES.get(facts["format"], UNKNOWN_TYPE)
        await asyncio.to_thread(self.store.put, place_of(name), body, content_type=media_type)
        # The record last: an object that is known is whole.
        await asyncio.to_thread(self.records.put, name, record)
        return name, record, True

    async def put_file(self, path: Path) -> tuple[str, dict[str, Any], bool]:
        """`put` of a file that may be too large for memory; the file itself stays.

        A picture of more pixels than a request decodes is kept as it came: `segment` takes it.
        """
        if path.stat().st_size <= SMALL_BYTES:
            return await self.put(await asyncio.to_thread(path.read_bytes))
        name = await asyncio.to_thread(_sha256, path)
        known = await asyncio.to_thread(self.records.get, name)
        if known is not None:
            return name, known, False
        _, facts = await self.pool.run("look_file", str(path).encode())
        record = self._new_record(facts, path.stat().st_size, path.stat().st_size)
        media_type = OBJECT_TYPES.get(facts["format"], UNKNOWN_TYPE)
        await asyncio.to_thread(self._keep_file, path, name, media_type)
        await asyncio.to_thread(self.records.put, name, record)
        return name, record, True

    def _keep_file(self, path: Path, name: str, media_type: str) -> None:
        if self.store.kind != "file":
            self.store.put(place_of(name), path.read_bytes(), content_type=media_type)
            return
        lay_beside(path, self.path_of(name))

    def path_of(self, name: str) -> Path:
        """Where an object lies in a store that is a folder of this machine."""
        return Path(absolute(self.store.uri), place_of(name))

    @staticmethod
    def _new_record(facts: dict[str, Any], nbytes: int, uploaded_nbytes: int) -> dict[str, Any]:
        return {
            "kind": "object",
            "status": "ok",
            **facts,
            "nbytes": nbytes,
            "uploaded_nbytes": uploaded_nbytes,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "results": [],
        }

    async def correct(self, name: str, kind: str, tag: str, accepted: bool, who: str) -> None:
        """Write a person's decision about a tag: beside what taggers said, or as an entry of its own."""
        from imgprep.stages.tags.entries import entry  # half of the memory of a server that needs it not

        known = await self.record(name)
        same = [t for t in known.get("tags", []) if (t["kind"], t["name"]) == (kind, tag)]
        for one in same:
            one["accepted"] = accepted
        if not same:
            mine = {"kind": kind, "name": tag, "accepted": accepted}
            tags = known.setdefault("tags", [])
            tags.append(entry(mine, source=f"human:{who}", version="1"))
        await asyncio.to_thread(self.records.put, name, known)

    async def keep(self, name: str, job: str, result: Result) -> None:
        """Keep a result that was made elsewhere."""
        await asyncio.to_thread(
            self.store.put, result_place(job), result.body, content_type=result.media_type
        )
        record = {
            "kind": "result",
            "status": "ok",
            "object": name,
            "media_type": result.media_type,
            "nbytes": len(result.body),
        }
        await asyncio.to_thread(self.records.put, job, record)
        known = await self.record(name)
        if job not in known["results"]:
            known["results"].append(job)
            await asyncio.to_thread(self.records.put, name, known)

    async def record(self, name: str) -> dict[str, Any]:
        """What is known of an object. Refusal (missing_file) where there is none, or the id is no hash."""
        known = await asyncio.to_thread(self.records.get, name) if ID.fullmatch(name) else None
        if known is None or known["kind"] != "object":
            raise Refusal("missing_file", "there is no such object")
        return known

    async def content(self, name: str) -> Result:
        """An object's bytes."""
        known = await self.record(name)
        body = await asyncio.to_thread(self.store.get, place_of(name))
        return Result(body, OBJECT_TYPES.get(known["format"], UNKNOWN_TYPE))

    async def result(
        self, name: str, job: str, make: Callable[[bytes], Awaitable[Result]]
    ) -> Result:
        """A result by its job's id: from memory, from the store, else made, once at a time, and kept."""
        kept = self.cache.get(job)
        if kept is not None:
            return kept
        if job in self._making:
            return await asyncio.shield(self._making[job])
        future = asyncio.get_running_loop().create_future()
        self._making[job] = future
        try:
            result = await self._stored(job) or await self._made(name, job, make)
            future.set_result(result)
        except BaseException as e:
            future.set_exception(e)
            future.exception()  # nobody may be waiting for it
            raise
        finally:
            del self._making[job]
        self.cache.put(job, result)
        return result

    async def kept(self, job: str) -> Result:
        """A result that has been made. Refusal (missing_file) where there is none."""
        found = await self._stored(job)
        if found is None:
            raise Refusal("missing_file", "there is no such result")
        return found

    async def _stored(self, job: str) -> Result | None:
        known = await asyncio.to_thread(self.records.get, job)
        if known is None or known["kind"] != "result":
            return None
        body = await asyncio.to_thread(self.store.get, result_place(job))
        return Result(body, known["media_type"])

    async def _made(self, name: str, job: str, make: Callable[[bytes], Awaitable[Result]]) -> Result:
        source = await self.content(name)
        result = await make(source.body)
        await self.keep(name, job, result)
        return result

    async def delete(self, name: str) -> None:
        """Take away an object and all that was made of it. Its record goes first: nobody finds half of it."""
        known = await self.record(name)
        await asyncio.to_thread(self.records.delete, name)
        self.cache.drop(known["results"])
        for job in known["results"]:
            await asyncio.to_thread(self.records.delete, job)
            await self._gone(result_place(job))
        await self._gone(place_of(name))

    async def _gone(self, place: str) -> None:
        try:
            await asyncio.to_thread(self.store.delete, place)
        except (FileNotFoundError, ValueError):
            return  # it was not there


def place_of(name: str) -> str:
    return f"objects/{name[:2]}/{name}"


def result_place(job: str) -> str:
    return f"results/{job[:2]}/{job}"
