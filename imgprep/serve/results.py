"""What was made of objects: written, found and taken away; the newest of it in memory."""

import asyncio
from collections import OrderedDict
from typing import Any

from imgprep.io.stores import Store
from imgprep.serve.answers import Refusal, Result
from imgprep.serve.places import result_place, result_places
from imgprep.serve.records import Records


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
        # One that does not fit would push all others out.
        if name in self._kept or len(result.body) > self.max_bytes:
            return
        self._kept[name] = result
        self.nbytes += len(result.body)
        while self.nbytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.nbytes -= len(oldest.body)

    def drop(self, name: str) -> None:
        gone = self._kept.pop(name, None)
        self.nbytes -= len(gone.body) if gone else 0


class KeptResults:
    """KeptResults by the ids of their jobs, in store and records."""

    def __init__(self, store: Store, records: Records, cache_bytes: int):
        self.store = store
        self.records = records
        self.cache = Cache(cache_bytes)

    async def write(self, name: str, job: str, result: Result, **more: Any) -> None:
        """Keep a result of an object, the record last. more: what else the record says."""
        # Bytes first, record last: what is known is there.
        await asyncio.to_thread(self.store.put, result_place(job), result.body, content_type=result.media_type)
        record = {
            "kind": "result",
            "status": "ok",
            "object": name,
            "media_type": result.media_type,
            "nbytes": len(result.body),
            **more,
        }
        await asyncio.to_thread(self.records.put, job, record)

    async def find(self, job: str) -> Result | None:
        """A result that has been made, or None."""
        known = await asyncio.to_thread(self.records.get, job)
        if known is None or known["kind"] != "result":
            return None
        body = await asyncio.to_thread(self.store.get, result_place(job))
        return Result(body, known["media_type"])

    async def kept(self, job: str) -> Result:
        """The same. Refusal (missing_file) where there is none."""
        found = await self.find(job)
        if found is None:
            raise Refusal("missing_file", "there is no such result")
        return found

    async def drop(self, job: str) -> None:
        """Take away a result: its record first, then its bytes."""
        self.cache.drop(job)
        known = await asyncio.to_thread(self.records.get, job)
        await asyncio.to_thread(self.records.delete, job)
        await self.remove(result_places(job, known or {}))

    async def remove(self, places: list[str]) -> None:
        """Take away bytes of the store, where they are there."""
        for place in places:
            try:
                await asyncio.to_thread(self.store.delete, place)
            # Gone already: another replica, or a deletion that was cut off.
            except (FileNotFoundError, ValueError):
                continue
