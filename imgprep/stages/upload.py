"""Upload a dataset's pictures to an object store: the bytes as they are, each under a name that its content gives."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from PIL import Image

from imgprep import dataset, engine
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.failures import RunStopped
from imgprep.io.stores import Store, StoreError
from imgprep.picture import codec
from imgprep.resume import make, stage
from imgprep.resume.inputs import Inputs
from imgprep.resume.load import Stored
from imgprep.resume.options import check_flags
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.source import open_source
from imgprep.resume.work import Loaded

COLUMNS = pa.schema([("uri", pa.string()), ("etag", pa.string()), ("stored", pa.string())])
IN_FLIGHT, HELD_BYTES = 16, 64 << 20  # requests of one worker, and the bodies they hold


def upload(
    source: str | Dataset,
    target: str,
    out: str,
    *,
    credentials_env: str | None = None,
    batch_size: int = 10_000,
    refresh: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Put every ok picture of a dataset folder into an object store; `out` says where each one is.

    target: az://container/prefix, s3://bucket/prefix, gs://bucket/prefix or a folder. "{variant}" in it is the size
        (az://gallery-{variant}: a container for each); without it each size has its own prefix.
    out: the rows of source without their pictures, a config per size, and `uri` (for fsspec), `etag`, `stored`:
        "uploaded", or "present" where the store had the same bytes. An object's name is the sha256 of its bytes.
    credentials_env: see `store.Store`. refresh: ask the store for every object again, and put back what is missing.
    Containers are created private where they are missing. Nothing is deleted. A run that is cut goes on where it was.
    Raises ValueError for a wrong name, StoreError for credentials or a public container, RunStopped where none answers.
    """
    source = dataset.open(source) if isinstance(source, str | os.PathLike) else source
    check_flags(refresh=refresh)
    given = open_source(source, out, new=COLUMNS.names)
    inputs = {split: _sized(one) for split, one in given.inputs.items()}
    found: dict[str, None] = {}
    for one in inputs.values():
        found |= dict.fromkeys(v for v in one.columns["variant"].unique().to_pylist() if v is not None)
    target, stores = _stores(target, list(found), credentials_env)
    shown = target if "://" in target else os.path.basename(target)
    run = Upload(PartWriter(Folder(out), part_schema(COLUMNS)), given.load, stores)
    wanted = stage.Stage(
        name="upload",
        options={"target": shown},
        operation={"stage": "upload", "target": target},  # another size is no other target
        inputs=inputs,
        earlier=given.earlier,
        work=run,
        shape=Shape(COLUMNS, configs=tuple(c for c in source.configs if c != "failures")),
        ready=run.ready,
    )
    return stage.build(wanted, out, batch_size=batch_size, refresh=refresh, max_failed=max_failed, dry_run=dry_run)


def _sized(inputs: Inputs) -> Inputs:
    """The rows with the size that each picture is; only those that are ok are uploaded."""
    rows = inputs.rows
    sizes = rows["variant"] if "variant" in rows.column_names else pa.chunked_array([[""] * rows.num_rows])
    named = []
    for sha, size, status in zip(inputs.identity, sizes.to_pylist(), rows["status"].to_pylist(), strict=True):
        named.append(f"{size}/{sha}" if sha and status == "ok" else None)
    return replace(inputs.keyed_by(named), columns={"variant": sizes})


def check(target: str, sizes: Sequence[str], *, credentials_env: str | None = None) -> None:
    """Before hours of work: would `upload` get in? Raises as it does, and creates what is missing.

    A dry run asks nobody.
    """
    _, stores = _stores(target, sizes, credentials_env)
    for store in () if engine.current().dry_run else stores.values():
        store.ready()


def public(uploaded: Dataset, *, credentials_env: str | None = None) -> dict[str, bool]:
    """For the place of each size: can anyone read there, without credentials? Asked for the first object of each."""
    found: dict[str, bool] = {}
    for split in uploaded.splits:
        for uri in uploaded.table(split, ["uri"])["uri"].drop_null().to_pylist():
            if uri.rsplit("/", 2)[0] not in found:
                store, name = locate(uri, credentials_env)
                found[store.uri] = store.is_public(name)
    return found


def locate(uri: str, credentials_env: str | None = None) -> tuple[Store, str]:
    """The store and the name of an uploaded object."""
    where, folder, name = uri.rsplit("/", 2)
    return Store(where, credentials_env), f"{folder}/{name}"


def _stores(target: str, sizes: Sequence[str], credentials_env: str | None) -> tuple[str, dict[str, Store]]:
    """The whole target, and the store of each size."""
    if not isinstance(target, str) or not target:
        raise ValueError(f"target is az://container, s3://bucket, gs://bucket or a folder, not {target!r}")
    target = target.rstrip("/") + ("/{variant}" if any(sizes) and "{variant}" not in target else "")
    if target.startswith("memory:") and engine.workers():
        raise ValueError("memory:// is this process's own: imgprep.session('local', workers=0) works in it")
    target = target if "://" in target else os.path.abspath(os.path.expanduser(target))
    return target, {size: Store(target.replace("{variant}", size), credentials_env) for size in sizes}


@dataclass(frozen=True)
class Upload:
    """One unit: its pictures, IN_FLIGHT at once. What the store refuses ends the run; what is up is recorded."""

    parts: PartWriter
    load: Stored
    stores: dict[str, Store]
    private: set[str] = field(default_factory=set)  # stores in which this process saw that not anyone can read

    def ready(self) -> None:
        for store in self.stores.values():
            store.ready()

    def __call__(self, task: engine.Task) -> engine.Summary:
        totals: dict[str, int] = {"attempts": 0}
        faults: list[Exception] = []
        with contextlib.closing(self.load(task.payload, totals)) as loaded:
            summary = self.parts.write(task, self._rows(loaded, totals, faults))
        if faults:  # what is up is recorded all the same
            raise faults[0]
        return summary + engine.Summary(**totals)

    def _rows(
        self, loaded: Iterator[Loaded], totals: dict[str, int], faults: list[Exception]
    ) -> Iterator[dict[str, Any]]:
        flying: deque[tuple[Loaded, Future]] = deque()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for one in loaded:
                flying.append((one, pool.submit(self._put, one)))
                while len(flying) == IN_FLIGHT or sum(len(o.data) for o, _ in flying) > HELD_BYTES:
                    yield from self._row(*flying.popleft(), totals, faults)
                if faults:
                    break
            while flying:
                yield from self._row(*flying.popleft(), totals, faults)

    def _row(
        self, one: Loaded, flight: Future, totals: dict[str, int], faults: list[Exception]
    ) -> Iterator[dict[str, Any]]:
        totals["attempts"] += 1
        try:
            yield flight.result()
        except (StoreError, RunStopped) as e:
            faults.append(e)

    def _put(self, one: Loaded) -> dict[str, Any]:
        h = codec.probe(one.data, max_pixels=None)
        row = make.picture_row(one.key, one.data, (h.width, h.height, h.format))
        store, sha256 = self.stores[one.columns["variant"]], row["sha256"]
        name = f"{sha256[:2]}/{sha256}.{h.format.lower().replace('jpeg', 'jpg')}"
        kind = Image.MIME.get(h.format, f"image/{h.format.lower()}")
        stored, etag = store.put(name, one.data, content_type=kind, sha256=sha256)
        if store.uri not in self.private:
            store.refuse_public(name)
            self.private.add(store.uri)
        return row | {"image": None, "uri": f"{store.uri}/{name}", "etag": etag, "stored": stored}
