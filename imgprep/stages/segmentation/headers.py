"""The pictures of a segmentation: their headers, and the rasters of what is true of them."""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgprep import hashing, project
from imgprep.io import rasters, uris
from imgprep.io.uris import SourceError
from imgprep.io.web import addresses, transfer
from imgprep.io.web.addresses import redact
from imgprep.io.web.routes import Routes
from imgprep.rows import sources
from imgprep.words import line

OVERVIEW_PX = 1024


@dataclass(frozen=True)
class Picture:
    """A source, its header read. `reason` and `error` say why it cannot be segmented."""

    source: str
    name: str
    key: str = ""
    path: str = ""
    content: str = ""
    width: int = 0
    height: int = 0
    bands: int = 0
    dtype: str = ""
    crs: str = ""
    transform: tuple[float, ...] | None = None
    copy: bool = False
    truth: str = ""
    reason: str = ""
    error: str = ""

    @staticmethod
    def of(operation: str, routes: Routes, name: str, source: str, truth: str) -> "Picture":
        """Raises ValueError where the truth cannot be read, or is of another size."""
        known, size = "", None
        if truth:
            with rasters.open(truth) as t:
                known, size = t.identity, (t.width, t.height)
        try:
            if source.startswith(uris.OUTSIDE) or not source:
                raise SourceError("missing_file" if source else "empty", f"there is no path or URI: {source!r}")
            if uris.scheme(source) == "http":  # GDAL would ask any host
                url = addresses.parse(source)
                if private := routes.blocked(url):
                    raise SourceError(*transfer.blocked(url, private))
            with rasters.open(source) as r:
                content = r.identity
                key = hashing.digest(operation, content, known)
                copy = uris.scheme(source) != "path" or (isinstance(r, rasters.Raster) and rasters.needs_copy(r))
                found = Picture(source, name, key, source, content, r.width, r.height, r.bands, str(r.dtype), r.crs,
                                r.transform and tuple(r.transform), copy, truth)  # fmt: skip
        except (SourceError, addresses.UrlError) as e:
            return Picture(source, name, reason=e.reason, error=str(e))
        except Exception as e:  # every store has errors of its own
            return Picture(source, name, reason="error", error=f"{redact(source)!r} cannot be read: {line(e)}")
        if size and size != found.size_wh:
            raise ValueError(f"{redact(truth)!r} has {size} pixels, its picture {found.size_wh}: it is of another one")
        return found

    @property
    def identity(self) -> str:
        return f"{self.name}\n{self.key}\n{self.reason}\n{self.error}"

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def factor(self) -> int:
        return max(1, -(-max(self.size_wh) // OVERVIEW_PX))


def plan(
    tables: dict[str, pa.Table], truth: Any, operation: str, allow_hosts: Sequence[str]
) -> dict[str, list[Picture]]:
    """The pictures of each split, their headers read. ValueError for a truth that is not of its picture."""
    with ThreadPoolExecutor(8) as pool:
        of = functools.partial(Picture.of, operation, Routes(allow_hosts))
        found = {split: list(pool.map(of, *_rows(table, truth))) for split, table in tables.items()}
    _name(p for plan in found.values() for p in plan)
    return found


def read(source: Any, truth: Any = None) -> dict[str, pa.Table]:
    """One table per split with image_id, source and, where it is known, the truth of each picture."""
    if isinstance(source, dict) or _is_folder(source):
        found = source if isinstance(source, dict) else sources.read({"train": os.fspath(source)})
        beside = os.path.basename(truth) if isinstance(truth, str) else ""
        if beside.startswith("*"):
            return {split: _with_truth(table, beside[1:]) for split, table in found.items()}
        names = {name for table in found.values() for name in table.column_names}
        if truth is not None and truth not in names:
            known = ", ".join(sorted(names))
            raise ValueError(f"truth is '*' and the end of the files' names here, or a column ({known}), not {truth!r}")
        return found
    given = ([v] if isinstance(v, str | os.PathLike) else v or [] for v in (source, truth))
    paths, true = (list(map(os.fspath, paths)) for paths in given)
    if not paths:
        raise ValueError("no pictures: name at least one path or URI")
    if true and len(true) != len(paths):
        raise ValueError(f"{len(true)} truths for {len(paths)} pictures: give one for each")
    names, seen = [Path(p.split("?")[0]).stem for p in paths], Counter()
    ids = [n if seen.update([n]) or seen[n] == 1 else f"{n}-{seen[n]}" for n in names]
    columns = {"image_id": ids, "source": list(map(project.absolute, paths))}
    columns |= {"truth": list(map(project.absolute, true))} if true else {}
    return {"train": pa.table({n: pa.array(c, pa.string()) for n, c in columns.items()})}


def _with_truth(table: pa.Table, ending: str) -> pa.Table:
    """The pictures, each with the file beside it whose name has this ending; those files are no pictures themselves."""
    pictures = table.filter([not source.endswith(ending) for source in table["source"].to_pylist()])
    beside = [os.path.splitext(source)[0] + ending for source in pictures["source"].to_pylist()]
    return pictures.append_column("truth", pa.array([p if os.path.exists(p) else "" for p in beside], pa.string()))


def _is_folder(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) and os.path.isdir(source) and Path(source).suffix != ".zarr"


def _rows(table: pa.Table, truth: Any) -> list[list[str]]:
    """The columns image_id, source, and the one of the truth."""
    column = truth if isinstance(truth, str) and truth in table.column_names else "truth"
    known = table[column].to_pylist() if truth is not None and column in table.column_names else [""] * table.num_rows
    return [[c or "" for c in cells] for cells in (table["image_id"].to_pylist(), table["source"].to_pylist(), known)]


def _name(pictures: Iterable[Picture]) -> None:
    """File names that differ, from the ids."""
    seen: Counter = Counter()
    for picture in pictures:
        name = re.sub(r"[^\w.-]+", "_", picture.name).strip(".") or "picture"
        seen[name.lower()] += 1
        n = seen[name.lower()]
        object.__setattr__(picture, "name", name if n == 1 else f"{name}-{n}")
