"""Objects and what is made of them: named by content, kept in a store, known in the records.

An object's id is the sha256 of the bytes that came; a result's is the hash of operation, options and object. So an
upload, a retry and an event that comes twice are the same thing, and the store is the cache that all replicas share.
"""

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imgprep.hashing import sha256_of
from imgprep.io.stores import Store
from imgprep.io.stores.in_pieces import put_file
from imgprep.project import absolute
from imgprep.rows.tag_entries import entry
from imgprep.serve.answers import Refusal, Result
from imgprep.serve.places import (
    OBJECT_TYPES,
    UNKNOWN_TYPE,
    StoredBytes,
    is_film,
    place_of,
    poster_id,
)
from imgprep.serve.records import Records
from imgprep.serve.results import KeptResults
from imgprep.serve.workers import Pool

ID = re.compile(r"[0-9a-f]{64}")
SMALL_BYTES = 20_000_000  # what a request may hold in memory


def lay_beside(path: Path, target: Path) -> None:
    """A file at a second place, whole or not at all; it costs no copy where one disk has both."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f"{target.name}#1")
    half.unlink(missing_ok=True)
    try:
        # A link where disk and file system allow it: an upload of gigabytes is not written twice.
        os.link(path, half)
    except OSError:
        shutil.copyfile(path, half)
    half.replace(target)
    half.unlink(missing_ok=True)  # it stays where it was the target already


class Album:
    """Pictures that were put, and results that were made of them."""

    def __init__(
        self, store: Store, records: Records, pool: Pool, *, keep_metadata: bool = False, cache_bytes: int = 64 << 20
    ):
        self.store = store
        self.records = records
        self.pool = pool
        self.keep_metadata = keep_metadata
        self.results = KeptResults(store, records, cache_bytes)
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
        body: bytes | bytearray
        body, facts = await self.pool.run("look", data, **given)
        posters = await self._keep_poster(name, facts, body)
        body = data if posters else body
        record = self._new_record(facts, len(body), len(data), posters)
        media_type = OBJECT_TYPES.get(facts["format"], UNKNOWN_TYPE)
        await asyncio.to_thread(self.store.put, place_of(name), body, content_type=media_type)
        # The record last: an object that is known is whole.
        await asyncio.to_thread(self.records.put, name, record)
        return name, record, True

    async def put_file(self, path: Path, *, called: str = "") -> tuple[str, dict[str, Any], bool]:
        """`put` of a file that may be too large for memory; the file itself stays.

        A picture of more pixels than a request decodes is kept as it came: `segment` takes it.
        """
        if path.stat().st_size <= SMALL_BYTES:
            return await self.put(await asyncio.to_thread(path.read_bytes), called=called)
        name = await asyncio.to_thread(sha256_of, path)
        known = await asyncio.to_thread(self.records.get, name)
        if known is not None:
            return name, known, False
        poster, facts = await self.pool.run("look_file", str(path).encode(), called=called)
        posters = await self._keep_poster(name, facts, poster)
        record = self._new_record(facts, path.stat().st_size, path.stat().st_size, posters)
        media_type = OBJECT_TYPES.get(facts["format"], UNKNOWN_TYPE)
        await asyncio.to_thread(self._keep_file, path, name, media_type)
        await asyncio.to_thread(self.records.put, name, record)
        return name, record, True

    def _keep_file(self, path: Path, name: str, media_type: str) -> None:
        if self.store.kind != "file":
            put_file(self.store, place_of(name), path, content_type=media_type, sha256=name)
            return
        lay_beside(path, self.path_of(name))

    def path_of(self, name: str) -> Path:
        """Where an object lies in a store that is a folder of this machine."""
        return Path(absolute(self.store.uri), place_of(name))

    async def _keep_poster(self, name: str, facts: dict[str, Any], poster: bytes) -> list[str]:
        """The picture that stands for a film, as a result: its id. None for a picture."""
        if not is_film(facts):
            return []
        await self.results.write(name, poster_id(name), Result(poster, "image/jpeg"))
        return [poster_id(name)]

    @staticmethod
    def _new_record(
        facts: dict[str, Any], nbytes: int, uploaded_nbytes: int, results: list[str]
    ) -> dict[str, Any]:
        return {
            "kind": "object",
            "status": "ok",
            **facts,
            "nbytes": nbytes,
            "uploaded_nbytes": uploaded_nbytes,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "results": results,
        }

    async def correct(self, name: str, kind: str, tag: str, accepted: bool, who: str) -> None:
        """Write a person's decision about a tag: beside what taggers said, or as an entry of its own."""
        known = await self.record(name)
        same = [t for t in known.get("tags", []) if (t["kind"], t["name"]) == (kind, tag)]
        for one in same:
            one["accepted"] = accepted
        if not same:
            mine = {"kind": kind, "name": tag, "accepted": accepted}
            tags = known.setdefault("tags", [])
            tags.append(entry(mine, source=f"human:{who}", version="1"))
        await asyncio.to_thread(self.records.put, name, known)

    async def keep(self, name: str, job: str, result: Result, **more: Any) -> None:
        """Keep a result that was made elsewhere. more: what else its record says."""
        await self.results.write(name, job, result, **more)
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

    async def lent(self, name: str, home: Path) -> Path:
        """An object as a file below a folder, for a process to read. Held in memory: a piece."""
        path = home / "source"
        if self.store.kind == "file":
            path.symlink_to(self.path_of(name))
            return path
        with path.open("wb") as file:
            async for piece in (await self.stored(name)).pieces():
                await asyncio.to_thread(file.write, piece)
        return path

    async def stored(self, name: str) -> StoredBytes:
        """An object's bytes where they lie."""
        known = await self.record(name)
        kind = OBJECT_TYPES.get(known["format"], UNKNOWN_TYPE)
        return StoredBytes(self.store, place_of(name), known["nbytes"], kind)

    async def content(self, name: str) -> Result:
        """An object's bytes."""
        known = await self.record(name)
        body = await asyncio.to_thread(self.store.get, place_of(name))
        return Result(body, OBJECT_TYPES.get(known["format"], UNKNOWN_TYPE))

    async def result(
        self, name: str, job: str, make: Callable[[bytes], Awaitable[Result]]
    ) -> Result:
        """A result by its job's id: from memory, from the store, else made, once at a time, and kept."""
        kept = self.results.cache.get(job)
        if kept is not None:
            return kept
        if job in self._making:
            return await asyncio.shield(self._making[job])
        future = asyncio.get_running_loop().create_future()
        self._making[job] = future
        try:
            result = await self.results.find(job) or await self._made(name, job, make)
            future.set_result(result)
        except BaseException as e:
            future.set_exception(e)
            future.exception()  # nobody may be waiting for it
            raise
        finally:
            del self._making[job]
        self.results.cache.put(job, result)
        return result

    async def picture(self, name: str) -> Result:
        """What picture operations are given: the object's bytes, of a film its poster."""
        known = await self.record(name)
        if is_film(known):
            return await self.results.kept(poster_id(name))
        return await self.content(name)

    async def _made(self, name: str, job: str, make: Callable[[bytes], Awaitable[Result]]) -> Result:
        source = await self.picture(name)
        result = await make(source.body)
        await self.keep(name, job, result)
        return result

    async def delete(self, name: str) -> None:
        """Take away an object and all that was made of it. Its record goes first: nobody finds half of it."""
        known = await self.record(name)
        await asyncio.to_thread(self.records.delete, name)
        for job in known["results"]:
            await self.results.drop(job)
        await self.results.remove([place_of(name)])
