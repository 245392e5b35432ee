"""What a worker does: put the pictures of a unit into their stores, many at once."""

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from imgprep import engine
from imgprep.dataset.names import ending
from imgprep.failures import RunStopped
from imgprep.io.stores import Store, StoreError
from imgprep.picture import codec
from imgprep.resume import make
from imgprep.resume.parts import PartWriter
from imgprep.resume.work import Loaded, Loader, Results
from imgprep.stages.upload.naming import content_name
from imgprep.stages.upload.threads import Threads

IN_FLIGHT, HELD_BYTES = 16, 64 << 20  # requests of one worker, and the bodies they hold
SILENT_STORE_S = 15.0  # then the store is asked whether it is still there
Flying = deque[tuple[Loaded, Future]]


@dataclass(frozen=True)
class UploadUnit:
    """One unit: its pictures, IN_FLIGHT at once. What the store refuses ends the run; what is up is
    recorded."""

    parts: PartWriter
    load: Loader
    stores: dict[str, Store]
    # Stores in which this process saw that not anyone can read.
    private: set[str] = field(default_factory=set)

    def ready(self) -> None:
        for store in self.stores.values():
            store.ready()

    def __call__(self, task: engine.Task) -> engine.Summary:
        totals = {"attempts": 0, "unchanged": 0}
        faults: list[Exception] = []
        with contextlib.closing(self.load(task.payload, totals)) as loaded:
            summary = self.parts.write(task, self._rows(loaded, totals, faults))
        if faults:  # what is up is recorded all the same
            raise faults[0]
        return summary + engine.Summary(attempts=totals["attempts"], unchanged=totals["unchanged"])

    def _rows(
        self,
        loaded: Iterator[Loaded],
        totals: dict[str, int],
        faults: list[Exception],
    ) -> Results:
        flying: Flying = deque()
        with Threads(IN_FLIGHT) as pool:
            for one in loaded:
                if one.reason or one.data is None:
                    yield make.not_loaded(one)
                    continue
                flying.append((one, pool.submit(self._put, one, one.data)))
                while _is_full(flying) and not faults:
                    yield from self._landed(flying, totals, faults)
                if faults:
                    break
            # After RunStopped nobody waits for the rest: each would hang for as long again.
            while flying and not isinstance(next(iter(faults), None), RunStopped):
                yield from self._landed(flying, totals, faults)

    def _landed(
        self,
        flying: Flying,
        totals: dict[str, int],
        faults: list[Exception],
    ) -> Results:
        """The row of the picture that has been under way for longest."""
        one, flight = flying.popleft()
        totals["attempts"] += 1
        try:
            row, is_new = self._awaited(one, flight)
        except (StoreError, RunStopped, codec.DecodeError) as e:
            if isinstance(e, codec.DecodeError):
                yield make.failed(one, e.reason, str(e))
                return
            faults.append(e)
            return
        totals["unchanged"] += not is_new
        yield row

    def _awaited(self, one: Loaded, flight: Future) -> tuple[dict[str, Any], bool]:
        """What came of it. RunStopped where the store has stopped to answer: it may take its time
        for a large body."""
        while True:
            try:
                return flight.result(timeout=SILENT_STORE_S)
            except NotYet:
                if not flight.done():
                    self.stores[one.columns["variant"]].answers()

    def _put(self, one: Loaded, data: bytes) -> tuple[dict[str, Any], bool]:
        """(row, whether the object is new)"""
        h = codec.probe(data, max_pixels=None)
        row = make.picture_row(one.key, data, (h.width, h.height, h.format))
        store = self.stores[one.columns["variant"]]
        name = self._name(one, row)
        kind = Image.MIME.get(h.format, f"image/{h.format.lower()}")
        stored, etag = store.put(
            name,
            data,
            content_type=kind,
            sha256=row["sha256"],
            is_lasting="name" not in one.columns,
        )
        # Once for each store and process: it costs a request.
        if store.uri not in self.private:
            store.refuse_public(name)
            self.private.add(store.uri)
        row |= {"image": None, "uri": f"{store.uri}/{name}", "etag": etag}
        return row, stored == "uploaded"

    @staticmethod
    def _name(one: Loaded, row: dict[str, Any]) -> str:
        own = one.columns.get("name")
        if own is not None:
            return f"{own}.{ending(row['format'])}"
        return f"{content_name(row['sha256'])}.{row['format'].lower().replace('jpeg', 'jpg')}"


def _is_full(flying: Flying) -> bool:
    held = sum(len(one.data or b"") for one, _ in flying)
    return len(flying) == IN_FLIGHT or held > HELD_BYTES
