"""The verbs a notebook calls: `download` a table's pictures, `transform` every picture with a function."""

import functools
import hashlib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.io import uris
from imgprep.io.web.options import Options
from imgprep.picture import codec, geometry
from imgprep.resume import fingerprint, pins, stage, work
from imgprep.resume.gather import Shape
from imgprep.resume.parts import RESULT, PartWriter, part_schema
from imgprep.rows import sources

# The outcome of a stage's rows; what else a dataset folder carries on is the user's and the stages' own columns.
PICTURE = ("image", "width", "height", "format", "nbytes", "sha256", "original", "file", "row")


def download(
    tables: dict[str, pa.Table],
    out: str,
    *,
    size_wh: tuple[int, int] | list[int] | None = None,
    placeholder_wh: tuple[int, int] | list[int] = (128, 128),
    placeholder_color: tuple[int, int, int] | list[int] = (200, 200, 200),
    max_pixels: int | None = codec.MAX_PIXELS,
    keep_truncated: bool = False,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    refresh: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
    **fetch_options: Any,
) -> Dataset | None:
    """Fetch the pictures of `sources.read`'s tables into the dataset folder `out`.

    tables: split name -> table with `image_id`, the user's columns, `source` (URL, URI or path).
    size_wh: None keeps the original bytes; else every picture is fitted into (width, height), padded with white, and
        stored as JPEG (quality 95); decoding is reduced to no less than twice that size.
    A row whose picture cannot be had after 3 attempts gets a placeholder picture (placeholder_wh, placeholder_color),
    status "placeholder" and a reason; it is not in the dataset's default config.
    max_pixels: pictures with more, by their header, are not decoded. None: no limit.
    retry_failed: try the failures of earlier runs again. refresh: ask the servers (by ETag) for newer versions.
    fetch_options: of `io.web.options.Options`: attempts, per_host, timeout_s, max_bytes, allow_hosts, user_agent … With
        opt_out=False the column `opt_out` keeps the header of an owner who opted out, of rows that are fetched then.
    Raises ValueError for a wrong option, RunStopped when nearly everything fails alike or over max_failed fails.
    """
    check_flags(keep_truncated=keep_truncated, retry_failed=retry_failed, refresh=refresh)
    check_max_pixels(max_pixels)
    size_wh = size_wh if size_wh is None else _pair("size_wh", size_wh)
    background, fit = (255, 255, 255), None
    options: dict[str, Any] = {"size_wh": list(size_wh) if size_wh else None}
    options |= {"max_pixels": max_pixels, "keep_truncated": keep_truncated}
    operation: dict[str, Any] = {"stage": "download"}
    if size_wh:
        fit = functools.partial(geometry.fit_pad, size_wh=size_wh, fill=255)
        version = pins.stage_version(geometry.fit_pad, geometry.fit_pad.version)
        operation |= {"size_wh": list(size_wh), "version": version}
    fetching = [n for n in inspect.signature(Options).parameters if n != "share"]
    fingerprint.check_known("download", fetch_options, fetching)
    check_tables(tables)
    extra = pa.schema([("opt_out", pa.string())] if fetch_options.get("opt_out") is False else [])
    if any("opt_out" in t.column_names for t in tables.values()) and extra:
        raise ValueError("there is a column 'opt_out' already: give sources.read rename={'opt_out': 'my_opt_out'}")
    urls = work.Urls.of({k: v for k, v in fetch_options.items() if v is not None})
    stand_in = codec.placeholder(_pair("placeholder_wh", placeholder_wh), _color(placeholder_color))
    h = codec.probe(stand_in)
    instead = work.picture_row(b"", stand_in, (h.width, h.height, h.format))
    writer = PartWriter(Folder(out), part_schema(extra, keep_original=not size_wh))
    picture = work.Picture(fit, background=background, max_pixels=max_pixels, keep_truncated=keep_truncated,
                       format="JPEG", min_wh=size_wh and (2 * size_wh[0], 2 * size_wh[1]))  # fmt: skip
    plan = stage.Stage(
        name="download",
        options=options | {"placeholder_wh": list(placeholder_wh), "placeholder_color": list(placeholder_color)},
        operation=operation,
        rows=tables,
        identities={s: _identities(t) for s, t in tables.items()},
        inputs={s: _Rows([t["source"]], {}) for s, t in tables.items()},
        nbytes=dict.fromkeys(tables),
        work=work.Work(writer, urls, picture if fit else work.Original(max_pixels, keep_truncated)),
        shape=Shape(extra, placeholder=instead, keep_original=not size_wh),
    )
    return stage.build(plan, out, batch_size=batch_size, retry_failed=retry_failed, refresh=refresh,
                       max_failed=max_failed, dry_run=dry_run)  # fmt: skip


def transform(
    source: str | Dataset | dict[str, pa.Table],
    out: str,
    fn: Callable,
    *,
    features: dict[str, Any] | None = None,
    children: bool = False,
    batch: int | None = None,
    num_gpus: float = 0,
    format: str = "PNG",
    max_pixels: int | None = codec.MAX_PIXELS,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
    **options: Any,
) -> Dataset | None:
    """Run `fn(image, **options)` on every picture of `source`, into the dataset folder `out`.

    source: a dataset folder, what `sources.read` gives, or one path that it reads (a folder of pictures …).
    fn: gets an (H, W, 3) uint8 RGB array, the options, and each column of the dataset that it has a parameter for.
        Returns a picture (H, W, 3) or (H, W) uint8; or a dict of new columns (with the key "image": a new picture
        too); or, with children=True, a list of such dicts, which become rows with `parent_id` and `index`.
        A class is built once per worker with the options its __init__ takes, and then called.
    features: the new columns: name -> a `datasets` feature, or a dtype such as "float32".
    batch: fn gets lists of up to so many pictures (and of columns), and returns a list.
    num_gpus: per worker. format: of new pictures: "PNG", "WEBP" (both lossless) or "JPEG" (quality 95).
    max_pixels: pictures with more, by their header, are not decoded. None: no limit.
    Placeholders go through and stay placeholders; rows without a picture keep their outcome.
    Raises ValueError for a wrong option before any work; what fn raises on a picture is that row's `error`.
    """
    if not callable(fn):
        raise ValueError(f"fn is the function that is run on each picture, not {fn!r}")
    check_flags(children=children, retry_failed=retry_failed)
    check_max_pixels(max_pixels)
    extra = _features(features or {})
    if format not in ("PNG", "WEBP", "JPEG"):
        raise ValueError(f"format is 'PNG', 'WEBP' or 'JPEG', not {format!r}")
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise ValueError(f"batch is a number of pictures, not {batch!r}")
    if not isinstance(num_gpus, int | float) or num_gpus < 0:
        raise ValueError(f"num_gpus is how many GPUs each worker has, not {num_gpus!r}")
    needed = {*RESULT.names, *sources.RESERVED, *(["index"] if children else [])}
    if clash := [c for c in extra.names if c in needed]:
        raise ValueError(f"there is a column {clash[0]!r} already: return yours under another name")
    load, planned = plan_source(source, out, new=[*extra.names, *(["parent_id", "index"] if children else [])])
    columns = list(dict.fromkeys(c for t in planned["rows"].values() for c in t.column_names))
    init, call = _split_options(fn, options)
    if isinstance(fn, type) and getattr(fn, "once", False):  # a model of ours: a wrong one is told now
        known = [*inspect.signature(fn).parameters, *[*inspect.signature(fn.__call__).parameters][2:]]
        fingerprint.check_known(fn.__name__, call, known)
        try:
            fn, options = fn(**init), call
        except TypeError as e:
            raise ValueError(str(e).replace(".__init__()", " is")) from None
    asked = fingerprint.check_options(fn, call, columns)
    give_columns(planned, asked)
    reusable = ""
    operation = {"stage": "transform", "features": str(extra), "format": format, "options": options}
    operation |= {"children": children}
    try:
        operation["function"] = fingerprint.function(fn)
    except fingerprint.Unhashable as e:
        operation["function"], reusable = "", f"{work.name_of(fn)} uses something that {e}"
    writer = PartWriter(Folder(out), part_schema(extra))
    run: Callable = functools.partial(fn, **call)
    if isinstance(fn, type):
        run = work.Function(fn, init, call, operation["function"])
    picture = work.Picture(run, format=format, columns=tuple(asked), extra=tuple(extra.names), children=children,
                       batch=batch, name=work.name_of(fn), max_pixels=max_pixels)  # fmt: skip
    plan = stage.Stage(
        name=work.name_of(fn),
        options={"function": work.name_of(fn), "options": options, "format": format},
        operation=operation,
        **planned,
        work=work.Work(writer, load, picture),
        shape=Shape(extra, children=children),
        once=isinstance(fn, type) or getattr(fn, "once", False),
        num_gpus=num_gpus,
        reusable=reusable,
    )
    return stage.build(plan, out, batch_size=batch_size, retry_failed=retry_failed,
                       max_failed=max_failed, dry_run=dry_run)  # fmt: skip


def write(ds: Any, out: str, *, split: str = "train", id_column: str | None = None) -> Dataset:
    """Write a `ray.data.Dataset` with pictures in a column `image` as a dataset folder, in the order it yields them.

    ds: has iter_batches(batch_format="pyarrow"); `image` is encoded bytes or the HF struct {bytes, path}; every other
        column is kept. id_column names the rows; else a hash of the picture does.
    """
    target, tables = Folder(out), []
    staged = Folder(target.full(".imgprep/staged"))
    schema = pa.schema([("image", dataset.IMAGE), ("nbytes", pa.int64())])
    for n, table in enumerate(ds.iter_batches(batch_format="pyarrow", batch_size=stage.UNIT_ROWS)):
        missing = [c for c in ("image", id_column) if c and c not in table.column_names]
        if missing:
            raise ValueError(f"no column {missing[0]!r}; this dataset has: {', '.join(table.column_names)}")
        data = [(c["bytes"] if isinstance(c, dict) else c) or b"" for c in table["image"].to_pylist()]
        with staged.create(lambda _, n=n: f"{n:05d}.parquet") as sink:
            file = dataset.Writer(sink, schema)
            file.write(pa.table([[{"bytes": d, "path": ""} for d in data], [len(d) for d in data]], schema=schema))
            file.close()
        table = table.select([c for c in table.column_names if c not in (*dataset.COLUMNS, *PICTURE)])
        place = {"file": [sink.name] * len(data), "row": range(len(data)), "nbytes": [len(d) for d in data]}
        for name, values in {**place, "sha256": [hashlib.sha256(d).hexdigest() for d in data]}.items():
            table = table.append_column(name, pa.array(values))
        tables.append(table)
    if not tables:
        raise ValueError("the dataset has no rows")
    whole = pa.concat_tables(tables, promote_options="default")
    names = whole[id_column or "sha256"].cast(pa.string()).to_pylist()
    seen: Counter = Counter()
    ids = [n if seen.update([n]) or seen[n] == 1 else f"{n}-{seen[n]}" for n in names]
    kept = [c for c in whole.column_names if c not in ("image_id", id_column)]
    carried = {"image_id": ids, **{c: whole[c] for c in kept}, "source": [""] * len(ids)}
    found = _rewrite("write", {split: pa.table(carried)}, staged, out, work.Original(None, False))
    for n in range(len(tables)):
        staged.delete(f"{n:05d}.parquet")
    return found


def copy(source: str | Dataset, tables: dict[str, pa.Table], out: str) -> Dataset:
    """Rows of a dataset folder as another one: with other splits, labels or columns, or fewer rows.

    tables: split -> rows of `source.table(…)`, with its columns and best in its order.
    Pictures are copied as they are, and outcomes kept; bytes of formats that cannot be opened (`original`) are not.
    """
    source = source if isinstance(source, Dataset) else Dataset(source)
    check_tables(tables)
    if Folder(out).path == source.folder:
        raise ValueError(f"{out!r} is the source itself: name another folder")
    if len(source.configs) > 2:
        raise ValueError(f"{source.folder} has several sizes: copy what it was made from, and make them again")
    missing = [c for t in tables.values() for c in ("file", "row", "sha256", "nbytes") if c not in t.column_names]
    if missing:
        raise ValueError(f"the tables have no column {missing[0]!r}: give rows as Dataset.table gives them")
    return _rewrite("copy", tables, Folder(source.folder), out, work.unchanged)


def _rewrite(name: str, tables: dict[str, pa.Table], stored: Folder, out: str, make: Callable) -> Dataset:
    writer = PartWriter(Folder(out), part_schema(pa.schema([])))
    plan = stage.Stage(
        name=name,
        options={},
        operation={"stage": name},
        **_plan_stored(tables),
        work=work.Work(writer, work.Stored(stored), make),
        shape=Shape(pa.schema([])),
    )
    return stage.build(plan, out, max_failed=1.0)


def batch(fn: Callable, **options: Any) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The function for `ray.data.Dataset.map_batches`: pictures in column `image` (encoded bytes, or the HF struct).

    A picture that fn fails on becomes b"" with a sentence in the column `error`.
    """

    picture = work.Picture(functools.partial(fn, **options), name=work.name_of(fn))

    def on_batch(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images, errors = [], []
        for value in table["image"]:
            data = value["bytes"] if isinstance(value, dict) else value
            result = next(picture(iter([work.Loaded(b"", data or b"", {})])))
            images.append(result.get("image") or b"")
            errors.append(result["error"])
        return {**table, "image": np.array(images, object), "error": np.array(errors, object)}

    on_batch.__name__ = work.name_of(fn)
    return on_batch


# Planning ------------------------------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """What the work is given for a row: where its picture is, and the columns that the function asked for."""

    where: list[pa.ChunkedArray]  # the source; or file and row
    columns: dict[str, pa.ChunkedArray]

    def take(self, rows: list[int]) -> list[tuple[Any, dict[str, Any]]]:
        """Of these rows, ascending and near each other: what lies between is looked at too."""

        def cells(column: pa.ChunkedArray) -> list:
            near = column.slice(rows[0], rows[-1] - rows[0] + 1).to_pylist()
            return [near[row - rows[0]] for row in rows]

        where = cells(self.where[0]) if len(self.where) == 1 else zip(*map(cells, self.where), strict=True)
        values = zip(*map(cells, self.columns.values()), strict=True)
        named = [dict(zip(self.columns, v, strict=True)) for v in values] if self.columns else [{}] * len(rows)
        return list(zip(where, named, strict=True))


def plan_source(source: str | Dataset | dict[str, pa.Table], out: str, *, new: list[str]) -> tuple[Any, dict[str, Any]]:
    """What loads the pictures of a stage's source, and the arguments of `stage.Stage` that say which they are.

    new: the columns that the stage adds. Raises ValueError where the source has one already, or is `out` itself.
    """
    if isinstance(source, str | os.PathLike):
        source = os.fspath(source)
        source = Dataset(source) if dataset.exists(source) else sources.read({"train": source})
    if isinstance(source, Dataset):
        if Folder(out).path == source.folder:
            raise ValueError(f"{out!r} is the source itself: name another folder")
        load: Any = work.Stored(Folder(source.folder))
        plan = _plan_stored({split: source.table(split) for split in source.splits})
        plan["earlier"] = [*source.info.get("earlier", []), {k: source.info[k] for k in ("stage", "options")}]
    else:
        check_tables(source)
        load, plan = work.Urls.of({}), {"rows": dict(source), "nbytes": dict.fromkeys(source)}
        plan["identities"] = {s: _identities(t) for s, t in source.items()}
        plan["inputs"] = {s: _Rows([t["source"]], {}) for s, t in source.items()}
    clash = [c for t in plan["rows"].values() for c in t.column_names if c in new]
    if clash:
        raise ValueError(f"there is a column {clash[0]!r} already: return yours under another name")
    return load, plan


def give_columns(planned: dict[str, Any], names: list[str]) -> None:
    """Let the work see these columns of each row; a result holds for their values, too."""
    for split, table in planned["rows"].items() if names else ():
        planned["inputs"][split].columns = {name: table[name] for name in names}
        cells = zip(*(table[name].to_pylist() for name in names), strict=True)
        known = zip(planned["identities"][split], cells, strict=True)
        planned["identities"][split] = [identity and f"{identity}\n{values!r}" for identity, values in known]


def _plan_stored(tables: dict[str, pa.Table]) -> dict[str, dict]:
    """rows, identities, inputs and nbytes of a `Stage` over rows that `Dataset.table` gave."""
    plan: dict[str, dict] = {"rows": {}, "identities": {}, "inputs": {}, "nbytes": {}}
    for split, table in tables.items():
        plan["identities"][split] = table["sha256"].to_pylist()  # null where there is no picture
        plan["inputs"][split] = _Rows([table["file"], table["row"]], {})
        plan["nbytes"][split] = table["nbytes"].fill_null(0).to_numpy()
        plan["rows"][split] = table.drop_columns([c for c in PICTURE if c in table.column_names])
    return plan


def _identities(table: pa.Table) -> Iterator[str]:
    return (uris.identity(source or "") for chunk in table["source"].chunks for source in chunk.to_pylist())


def _features(declared: dict[str, Any]) -> pa.Schema:
    if not isinstance(declared, dict):
        raise ValueError(f"features is {{name: feature or dtype}}, not {declared!r}")
    if not declared:
        return pa.schema([])
    from datasets import Features, Value

    try:
        return Features({n: Value(f) if isinstance(f, str) else f for n, f in declared.items()}).arrow_schema
    except (ValueError, TypeError) as e:
        raise ValueError(f"features: {e}") from None


def _split_options(fn: Callable, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A class takes its options in __init__ where it has such parameters, the others when it is called."""
    if not isinstance(fn, type):
        return {}, options
    taken = {p for p in inspect.signature(fn).parameters if p in options}
    return {k: v for k, v in options.items() if k in taken}, {k: v for k, v in options.items() if k not in taken}


def _pair(name: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or [type(v) for v in value] != [int, int] or min(value) < 1:
        raise ValueError(f"{name} is [width, height] in pixels, not {value!r}")
    return tuple(value)


def _color(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list | tuple) or [type(v) for v in value] != [int] * 3 or not set(value) <= {*range(256)}:
        raise ValueError(f"placeholder_color is [red, green, blue], each from 0 to 255, not {value!r}")
    return tuple(value)


def check_flags(**flags: Any) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false, not {value!r}")


def check_max_pixels(value: Any) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"max_pixels is a number of pixels, or None for no limit, not {value!r}")


def check_tables(tables: Any) -> None:
    if not isinstance(tables, dict) or not tables or not all(isinstance(t, pa.Table) for t in tables.values()):
        raise ValueError(f"give what sources.read gives, {{split: table}}, not {str(tables)[:100]!r}")
    for split, table in tables.items():
        for name in ("image_id", "source"):
            kind = str(table.schema.field(name).type) if name in table.column_names else "missing"
            if kind not in ("string", "large_string", "string_view", "null"):
                raise ValueError(f"the column {name!r} of {split!r} is {kind}; sources.read makes it, as text")
