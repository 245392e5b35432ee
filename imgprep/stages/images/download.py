"""The verb that fetches: URLs, URIs and paths of a table become pictures of a dataset folder."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.io.web.options import Options
from imgprep.picture import codec, geometry
from imgprep.resume import load, make, pins, stage
from imgprep.resume.options import check_flags, check_known, check_max_pixels, run_options
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.source import of_tables
from imgprep.resume.work import Work
from imgprep.rows import sources
from imgprep.rows.left_behind import left_behind
from imgprep.words import say


def download(
    tables: str | dict[str, pa.Table],
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

    tables: split name -> table with `image_id`, the user's columns, `source` (URL, URI or path); or
        what `sources.read` makes one of without options.
    size_wh: None keeps the original bytes; else every picture is fitted into (width, height),
        padded with white, and stored as JPEG (quality 95); decoding is reduced to no less than
        twice that size.
    A row whose picture cannot be had after 3 attempts gets a placeholder picture (placeholder_wh,
    placeholder_color), status "placeholder" and a reason; it is not in the dataset's default
    config.
    max_pixels: pictures with more, by their header, are not decoded. None: no limit.
    retry_failed: try the failures of earlier runs again. refresh: ask the servers (by ETag) for
        newer versions.
    fetch_options: of `io.web.options.Options`: attempts, per_host, timeout_s, max_bytes,
        allow_hosts, user_agent … With opt_out=False the column `opt_out` keeps the header of an
        owner who opted out, of rows that are fetched then.
    Raises ValueError for a wrong option, RunStopped when nearly everything fails alike or over
    max_failed fails.
    """
    run = run_options(
        batch_size=batch_size,
        retry_failed=retry_failed,
        refresh=refresh,
        max_failed=max_failed,
        dry_run=dry_run,
    )
    check_flags(keep_truncated=keep_truncated)
    check_max_pixels(max_pixels)
    box_wh = None if size_wh is None else _pair("size_wh", size_wh)
    stand_in_wh = _pair("placeholder_wh", placeholder_wh)
    color = _color(placeholder_color)
    # `share` is for the engine to set.
    fetching = [name for name in inspect.signature(Options).parameters if name != "share"]
    check_known("download", fetch_options, fetching)
    rows = _tables(tables)
    inputs = of_tables(rows)
    extra = _opt_out_column(rows, fetch_options)
    urls = load.Urls.of({k: v for k, v in fetch_options.items() if v is not None})
    if box_wh:
        _tell_left_behind(rows)
    instead = _placeholder_result(stand_in_wh, color)
    writer = PartWriter(Folder(out), part_schema(extra, keep_original=not box_wh))
    options = {
        "size_wh": list(box_wh) if box_wh else None,
        "max_pixels": max_pixels,
        "keep_truncated": keep_truncated,
        "placeholder_wh": list(placeholder_wh),
        "placeholder_color": list(placeholder_color),
    }
    plan = stage.Stage(
        name="download",
        options=options,
        operation=_download_operation(box_wh),
        inputs=inputs,
        circumstances={
            **urls.circumstances,
            "max_pixels": max_pixels,
            "keep_truncated": keep_truncated,
        },
        can_retry=True,
        work=Work(writer, urls, _what_is_kept(box_wh, max_pixels, keep_truncated=keep_truncated)),
        shape=Shape(extra, placeholder=instead, keep_original=not box_wh),
    )
    return stage.build(plan, out, **run)


def _tables(given: Any) -> dict[str, pa.Table]:
    """What `sources.read` gives of it. ValueError for a dataset folder: its pictures are there."""
    found = sources.given(given)
    if isinstance(found, Dataset):
        fix = "`images.transform` works on them"
        raise ValueError(f"{found.folder} has its pictures already: {fix}")
    return found


def _download_operation(box_wh: tuple[int, int] | None) -> dict[str, Any]:
    """What changes an ok picture's bytes."""
    if box_wh is None:
        return {"stage": "download"}
    own = vars(geometry.fit_pad)["version"]
    version = pins.stage_version(geometry.fit_pad, own)
    return {"stage": "download", "size_wh": list(box_wh), "version": version}


def _what_is_kept(
    box_wh: tuple[int, int] | None, max_pixels: int | None, *, keep_truncated: bool
) -> Callable:
    """What becomes of the bytes: they stay, or are fitted."""
    if box_wh is None:
        return make.Original(max_pixels, keep_truncated)
    width, height = box_wh
    return make.Picture(
        functools.partial(geometry.fit_pad, size_wh=box_wh, fill=255),
        format="JPEG",
        background=(255, 255, 255),
        # Twice the size: JPEG's own shrinking is coarse.
        min_wh=(2 * width, 2 * height),
        max_pixels=max_pixels,
        keep_truncated=keep_truncated,
    )


def _placeholder_result(size_wh: tuple[int, int], color: tuple[int, int, int]) -> dict[str, Any]:
    """The result of a picture that could not be had."""
    data = codec.placeholder(size_wh, color)
    h = codec.probe(data)
    return make.picture_row(b"", data, (h.width, h.height, h.format))


def _opt_out_column(tables: dict[str, pa.Table], options: dict[str, Any]) -> pa.Schema:
    if options.get("opt_out") is not False:
        return pa.schema([])
    if any("opt_out" in table.column_names for table in tables.values()):
        fix = "give sources.read rename={'opt_out': 'my_opt_out'}"
        raise ValueError(f"there is a column 'opt_out' already: {fix}")
    return pa.schema([("opt_out", pa.string())])


def _tell_left_behind(tables: dict[str, pa.Table]) -> None:
    """Say which columns hold places in the picture, that fitting does not move."""
    for table in tables.values():
        if left := left_behind(table.schema, geometry.fit_pad, ()):
            say(f"download: {left}")
            return


def _pair(name: str, value: Any) -> tuple[int, int]:
    # type and not isinstance: True is no side.
    is_pair = isinstance(value, list | tuple) and [type(v) for v in value] == [int, int]
    if not is_pair or min(value) < 1:
        raise ValueError(f"{name} is [width, height] in pixels, not {value!r}")
    return value[0], value[1]


def _color(value: Any) -> tuple[int, int, int]:
    is_color = isinstance(value, list | tuple) and [type(v) for v in value] == [int] * 3
    if not is_color or not set(value) <= {*range(256)}:
        told = "placeholder_color is [red, green, blue], each from 0 to 255"
        raise ValueError(f"{told}, not {value!r}")
    return value[0], value[1], value[2]
