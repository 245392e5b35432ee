"""`transcode`: ladders of renditions that browsers play, one for each film."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgprep import engine
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.io.film.library import check_library
from imgprep.io.film.places import Films
from imgprep.io.film.wishes import USUAL_MAX_HOURS, USUAL_SIDES, USUAL_THUMBNAIL_S, ladder_wish
from imgprep.picture import codec as pictures
from imgprep.resume import pins, stage
from imgprep.resume.kept import named_by_kept
from imgprep.resume.options import check_flags, check_max_pixels, check_run_options
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.stages.film.film import LADDERS, UNFINISHED, LadderRows
from imgprep.stages.film.frames import MAX_FILM_BYTES, decoder_threads
from imgprep.stages.film.inputs import film_inputs
from imgprep.stages.film.work import FACTS, FilmWork

LADDER_VERSION = 3  # one more whenever other bytes are written for the same film
RENDITION = pa.struct(
    [
        ("name", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("codecs", pa.string()),
        ("bandwidth", pa.int64()),
        ("mean_bandwidth", pa.int64()),
        ("nbytes", pa.int64()),
    ]
)
LADDER_COLUMNS = pa.schema(
    [
        ("playlist", pa.string()),
        ("thumbnails", pa.string()),
        ("duration_s", pa.float64()),
        ("segments", pa.int32()),
        ("renditions", pa.list_(RENDITION)),
        *FACTS,
    ]
)


def transcode(
    films: Any,
    out: str,
    *,
    sides: Sequence[int] = USUAL_SIDES,
    codec: str = "h264",
    crf: int | None = None,
    preset: str | None = None,
    thumbnail_s: float | None = USUAL_THUMBNAIL_S,
    keep_truncated: bool = False,
    max_pixels: int | None = pictures.MAX_PIXELS,
    max_bytes: int = MAX_FILM_BYTES,
    allow_hosts: Sequence[str] = (),
    max_hours: float | None = USUAL_MAX_HOURS,
    timeout_s: float | None = 600.0,
    max_memory_mb: int | None = None,
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Make an HLS ladder of each film, in the dataset folder `out`: a row for each film.

    films: as for `extract_frames`. out: on this machine; what is in it can be uploaded as it is.
    sides: the shorter side of each rendition in pixels. Nothing is enlarged: a rendition that would
        be larger than the film has the film's size, once. Sides are even numbers.
    codec: "h264", or "av1" (smaller, and many times slower). crf: quality, lower is better and
        larger; None: 23 for h264, 35 for av1. preset: of the encoder; None: "veryfast", "8".
    thumbnail_s: seconds between the small pictures for a time line; None: none are made.
    max_hours: a longer film gets no ladder (`too_long`), whether it says so or its times do.
    keep_truncated: of a film that ends early make the ladder of what there is; else it is a failed
        row without one.
    max_pixels, max_bytes, allow_hosts, max_memory_mb: as for `extract_frames`. timeout_s: without a
        sign of life from the film's decoder.

    The columns playlist (master.m3u8) and thumbnails (WebVTT with `sprite-….jpg#xywh=`) name files
    in `out`; `image` is a frame at a tenth of the film; `renditions` has size, codecs and bits per
    second of each. Segments are fragmented MP4 and exactly 4 s long but for the last, also at
    uneven rates: where no frame begins at a multiple of 4 s, the one that is seen is told again.
    All renditions begin their segments together, each with a keyframe that nothing before it is
    needed for. Sound is AAC, in every rendition, encoded once.
    A ladder is there as a whole or not at all; one of which a file was lost or damaged is made anew
    by the next run. The encoder works in one thread for each film, so
    that the same film gives the same bytes.
    Raises ValueError for a wrong option before any work, RunStopped as `stage.build`.
    """
    check_library()
    run: dict[str, Any] = dict(retry_failed=retry_failed, max_failed=max_failed, dry_run=dry_run)
    check_run_options(**run)
    check_max_pixels(max_pixels)
    check_flags(keep_truncated=keep_truncated)
    wish = ladder_wish(sides, codec, crf, preset, thumbnail_s, max_hours)
    folder = _local_folder(out)
    inputs = film_inputs(films, out, LADDER_COLUMNS.names)
    count = sum(one.rows.num_rows for one in inputs.values())
    options: dict[str, Any] = {
        "sides": list(wish.sides),
        "codec": codec,
        "crf": wish.encoding.crf,
        "preset": wish.encoding.preset,
        "thumbnail_s": thumbnail_s,
    }
    made = LadderRows(
        folder, wish, max_pixels, decoder_threads(count), keep_truncated=keep_truncated
    )
    version = pins.stage_version(LadderRows, LADDER_VERSION)
    plan = stage.Stage(
        name="transcode",
        options=options,
        operation={"stage": "transcode", "version": version, **options},
        inputs=inputs,
        work=FilmWork(
            PartWriter(folder, part_schema(LADDER_COLUMNS)),
            Films(max_bytes, tuple(allow_hosts)),
            made,
        ),
        shape=Shape(LADDER_COLUMNS),
        limits=engine.Limits(timeout_s, max_memory_mb),
        ready=lambda: shutil.rmtree(folder.full(UNFINISHED), ignore_errors=True),
        circumstances={
            "keep_truncated": keep_truncated,
            "max_pixels": max_pixels,
            "max_bytes": max_bytes,
            "max_hours": max_hours,
            "allow_hosts": list(allow_hosts),
            "timeout_s": timeout_s,
            "max_memory_mb": max_memory_mb,
        },
        can_retry=True,
        unit_rows=1,
        names_files=("playlist",),
    )
    found = stage.build(plan, out, **run)
    if found is not None:
        _remove_unnamed(folder, found)
    return found


def _local_folder(out: str) -> Folder:
    folder = Folder(out)
    if folder.remote:
        raise ValueError(f"{out} is a URI: transcode into a local folder, then upload that")
    return folder


def _remove_unnamed(folder: Folder, found: Dataset) -> None:
    """Remove the ladders that no row names any more, and what was left unfinished."""
    shutil.rmtree(folder.full(UNFINISHED), ignore_errors=True)
    # A film that left the table may come back to its finished row: its ladder waits with that.
    named = named_by_kept(folder, ["playlist"])
    for split in found.splits:
        named.update(found.table(split, ["playlist"])["playlist"].to_pylist())
    homes = {name.split("/")[1] for name in named if name}
    for ladder in Path(folder.full(LADDERS)).glob("*"):
        # By our form of names only: what a person put beside the ladders stays.
        if re.fullmatch(r"[0-9a-f]{32}", ladder.name) and ladder.name not in homes:
            shutil.rmtree(ladder, ignore_errors=True)
