"""The verbs a notebook calls: `download` a table's pictures, `transform` every picture with a function."""

import functools
import hashlib
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep import dataset, words
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.io import uris
from imgprep.io.web.options import Options
from imgprep.picture import codec, geometry
from imgprep.resume import fingerprint, load, make, pins, stage, work
from imgprep.resume.inputs import Inputs
from imgprep.resume.options import check_flags, check_known, check_max_pixels, check_options
from imgprep.resume.parts import RESULT, PartWriter, part_schema
from imgprep.resume.plan import UNIT_ROWS
from imgprep.resume.shape import TAKEN, Shape
from imgprep.resume.source import check_tables, of_rows, of_tables, open_source
from imgprep.rows import sources
from imgprep.rows.annotations import left_behind


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
    check_known("download", fetch_options, fetching)
    inputs = of_tables(tables)
    extra = pa.schema([("opt_out", pa.string())] if fetch_options.get("opt_out") is False else [])
    if any("opt_out" in t.column_names for t in tables.values()) and extra:
        raise ValueError("there is a column 'opt_out' already: give sources.read rename={'opt_out': 'my_opt_out'}")
    urls = load.Urls.of({k: v for k, v in fetch_options.items() if v is not None})
    stand_in = codec.placeholder(_pair("placeholder_wh", placeholder_wh), _color(placeholder_color))
    h = codec.probe(stand_in)
    instead = make.picture_row(b"", stand_in, (h.width, h.height, h.format))
    writer = PartWriter(Folder(out), part_schema(extra, keep_original=not size_wh))
    keep: Callable = make.Original(max_pixels, keep_truncated)
    if fit:
        min_wh = 2 * size_wh[0], 2 * size_wh[1]
        keep = make.Picture(fit, format="JPEG", background=background, min_wh=min_wh,
                            max_pixels=max_pixels, keep_truncated=keep_truncated)  # fmt: skip
    plan = stage.Stage(
        name="download",
        options=options | {"placeholder_wh": list(placeholder_wh), "placeholder_color": list(placeholder_color)},
        operation=operation,
        inputs=inputs,
        work=work.Work(writer, urls, keep),
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
        A column that fn takes and gives back, such as boxes that move with the picture, is replaced: its name stands in
        `features` or in fn.moves.
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
    if format not in ("PNG", "WEBP", "JPEG"):
        raise ValueError(f"format is 'PNG', 'WEBP' or 'JPEG', not {format!r}")
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise ValueError(f"batch is a number of pictures, not {batch!r}")
    if not isinstance(num_gpus, int | float) or num_gpus < 0:
        raise ValueError(f"num_gpus is how many GPUs each worker has, not {num_gpus!r}")
    moved = [name for name in (*(features or {}), *getattr(fn, "moves", ())) if name in _parameters(fn)]
    extra = _features(features or {})
    needed = {*RESULT.names, *sources.RESERVED, *(["index"] if children else [])}
    if clash := [c for c in extra.names if c in needed]:
        raise ValueError(f"there is a column {clash[0]!r} already: return yours under another name")
    new = [name for name in extra.names if name not in moved]
    given = open_source(source, out, new=[*new, *(["parent_id", "index"] if children else [])])
    known = {name: given.feature_of(name) for name in moved if name not in extra.names}
    extra = _features({**(features or {}), **{name: f for name, f in known.items() if f is not None}})
    init, call = _split_options(fn, options)
    if isinstance(fn, type) and getattr(fn, "once", False):  # a model of ours: a wrong one is told now
        known = [*inspect.signature(fn).parameters, *[*inspect.signature(fn.__call__).parameters][2:]]
        check_known(fn.__name__, call, known)
        try:
            fn, options = fn(**init), call
        except TypeError as e:
            raise ValueError(str(e).replace(".__init__()", " is")) from None
    asked = check_options(fn, call, given.columns)
    if left := left_behind(next(iter(given.inputs.values())).rows.schema, fn, extra.names):
        words.say(f"{make.name_of(fn)}: {left}")
    given = given.with_columns(asked).without(moved)
    reusable = ""
    operation = {"stage": "transform", "features": str(extra), "format": format, "options": options}
    operation |= {"children": children}
    try:
        operation["function"] = fingerprint.function(fn)
    except fingerprint.Unhashable as e:
        operation["function"], reusable = "", f"{make.name_of(fn)} uses something that {e}"
    writer = PartWriter(Folder(out), part_schema(extra))
    run: Callable = functools.partial(fn, **call)
    if isinstance(fn, type):
        run = make.Function(fn, init, call, operation["function"])
    picture = make.Picture(run, format=format, columns=tuple(asked), extra=tuple(extra.names), children=children,
                           batch=batch, name=make.name_of(fn), max_pixels=max_pixels)  # fmt: skip
    plan = stage.Stage(
        name=make.name_of(fn),
        options={"function": make.name_of(fn), "options": options, "format": format},
        operation=operation,
        inputs=given.inputs,
        earlier=given.earlier,
        work=work.Work(writer, given.load, picture),
        shape=Shape(extra, children=children),
        once=isinstance(fn, type) or getattr(fn, "once", False),
        num_gpus=num_gpus,
        reusable=reusable,
    )
    return stage.build(plan, out, batch_size=batch_size, retry_failed=retry_failed,
                       max_failed=max_failed, dry_run=dry_run)  # fmt: skip


def write(ds: Any, out: str, *, split: str = "train", id_column: str | None = None) -> Dataset:
    """Write a `ray.data.Dataset` with pictures in a column `image` as a dataset folder, in the order it yields them.

    ds: has iter_batches(batch_format="pyarrow"); `image` is encoded bytes, the HF struct {bytes, path}, of which a path
        is read, or arrays (H, W, 3) or (H, W), uint8, which are stored as PNG; every other column is kept.
    id_column: names the rows; else a hash of the picture does. ValueError where a row has none.
    """
    target, tables = Folder(out), []
    staged = Folder(target.full(".imgprep/staged"))
    schema = pa.schema([("image", dataset.IMAGE), ("nbytes", pa.int64())])
    for n, table in enumerate(ds.iter_batches(batch_format="pyarrow", batch_size=UNIT_ROWS)):
        missing = [c for c in ("image", id_column) if c and c not in table.column_names]
        if missing:
            raise ValueError(f"no column {missing[0]!r}; this dataset has: {', '.join(table.column_names)}")
        data = [_encoded(cell) for cell in _pictures_of(table["image"])]
        with staged.create(lambda _, n=n: f"{n:05d}.parquet") as sink:
            file = dataset.Writer(sink, schema)
            file.write(pa.table([[{"bytes": d, "path": ""} for d in data], [len(d) for d in data]], schema=schema))
            file.close()
        table = table.select([c for c in table.column_names if c not in (*dataset.COLUMNS, *TAKEN)])
        place = {"file": [sink.name] * len(data), "row": range(len(data)), "nbytes": [len(d) for d in data]}
        for name, values in {**place, "sha256": [hashlib.sha256(d).hexdigest() for d in data]}.items():
            table = table.append_column(name, pa.array(values))
        tables.append(table)
    if not tables:
        raise ValueError("the dataset has no rows")
    whole = pa.concat_tables(tables, promote_options="default")
    names = whole[id_column or "sha256"].cast(pa.string()).to_pylist()
    if None in names:
        raise ValueError(f"row {names.index(None) + 1} has no {id_column!r}, which id_column names")
    seen: Counter = Counter()
    ids = [n if seen.update([n]) or seen[n] == 1 else f"{n}-{seen[n]}" for n in names]
    kept = [c for c in whole.column_names if c not in ("image_id", id_column)]
    carried = {"image_id": ids, **{c: whole[c] for c in kept}, "source": [""] * len(ids)}
    rows = of_rows({split: pa.table(carried)})
    found = _rewrite("write", rows, staged, out, make.Original(None, False))
    for n in range(len(tables)):
        staged.delete(f"{n:05d}.parquet")
    return found


def _pictures_of(column: pa.ChunkedArray) -> list[Any]:
    """The cells of a column of pictures; Ray keeps arrays as a type of its own."""
    cells: list[Any] = []
    for chunk in column.chunks:
        is_tensor = isinstance(chunk, pa.ExtensionArray) and hasattr(chunk, "to_numpy_ndarray")
        if is_tensor:
            cells += list(chunk.to_numpy_ndarray())
        elif isinstance(chunk, pa.ExtensionArray):
            cells += list(chunk.to_numpy(zero_copy_only=False))
        else:
            cells += chunk.to_pylist()
    return cells


def _encoded(cell: Any) -> bytes:
    """The file of a picture, as a Ray Dataset has it; b"" where there is none."""
    if isinstance(cell, dict):
        path = cell.get("path")
        cell = cell.get("bytes")
        if cell is None and path:
            try:
                return uris.read_bytes(path, max_bytes=Options().max_bytes)
            except uris.SourceError:
                return b""
    if isinstance(cell, np.ndarray):
        is_picture = cell.dtype == np.uint8 and (cell.ndim == 2 or (cell.ndim == 3 and cell.shape[2] in (1, 3)))
        if not is_picture:
            what = f"arrays of {cell.dtype}, {cell.shape}"
            raise ValueError(f"the column 'image' holds {what}: give encoded bytes, or (H, W, 3) or (H, W) uint8")
        return codec.encode(cell[:, :, 0] if cell.ndim == 3 and cell.shape[2] == 1 else cell)
    if cell is not None and not isinstance(cell, bytes):
        raise ValueError(f"the column 'image' holds {type(cell).__name__}, not encoded bytes of pictures")
    return cell or b""


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
    return _rewrite("copy", of_rows(tables), Folder(source.folder), out, make.unchanged)


def _rewrite(name: str, inputs: dict[str, Inputs], stored: Folder, out: str, keep: Callable) -> Dataset:
    writer = PartWriter(Folder(out), part_schema(pa.schema([])))
    plan = stage.Stage(
        name=name,
        options={},
        operation={"stage": name},
        inputs=inputs,
        work=work.Work(writer, load.Stored(stored), keep),
        shape=Shape(pa.schema([])),
    )
    return stage.build(plan, out, max_failed=1.0)


def batch(fn: Callable, **options: Any) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The function for `ray.data.Dataset.map_batches`: pictures in column `image` (encoded bytes, or the HF struct).

    A picture that fn fails on becomes b"" with a sentence in the column `error`.
    """

    picture = make.Picture(functools.partial(fn, **options), name=make.name_of(fn))

    def on_batch(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images, errors = [], []
        for value in table["image"]:
            data = value["bytes"] if isinstance(value, dict) else value
            result = next(picture(iter([work.Loaded(b"", data or b"", {})])))
            images.append(result.get("image") or b"")
            errors.append(result["error"])
        return {**table, "image": np.array(images, object), "error": np.array(errors, object)}

    on_batch.__name__ = make.name_of(fn)
    return on_batch


# Options -------------------------------------------------------------------------------------------------------------


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


def _parameters(fn: Callable) -> list[str]:
    """The names of what a function takes; of a class, of what its instances take."""
    call = fn.__call__ if isinstance(fn, type) else fn
    try:
        return list(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return []


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
