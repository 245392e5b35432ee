"""`extract_frames`: rows of pictures out of films."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from imgprep import engine
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.io.film.library import check_library
from imgprep.io.film.places import Films
from imgprep.picture import codec
from imgprep.resume import pins, stage
from imgprep.resume.options import check_max_pixels, run_options
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.stages.film.film import FrameRows, Wish
from imgprep.stages.film.inputs import film_inputs
from imgprep.stages.film.work import FACTS, FilmWork

FRAMES_VERSION = 2  # one more whenever other frames are taken, or their bytes change
FRAME_COLUMNS = pa.schema([("time_s", pa.float64()), ("is_keyframe", pa.bool_()), *FACTS])
MAX_FILM_BYTES = 1 << 30
FRAME_FORMATS = ("JPEG", "PNG", "WEBP")


def extract_frames(
    films: Any,
    out: str,
    *,
    every_s: float | None = None,
    scenes: float | bool = False,
    keyframes: bool = False,
    max_side: int | None = None,
    format: str = "JPEG",
    max_frames: int | None = 10_000,
    max_pixels: int | None = codec.MAX_PIXELS,
    max_bytes: int = MAX_FILM_BYTES,
    allow_hosts: Sequence[str] = (),
    timeout_s: float | None = 600.0,
    max_memory_mb: int | None = None,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Take frames out of films into the dataset folder `out`: a row for each.

    films: a film, a list of them, a folder of them, what `sources.read` gives of a table of paths,
        URIs or URLs, or a dataset folder that films were made into.
    every_s, scenes, keyframes: one of the three. every_s: the first frame, and then the first one
        at or after each multiple of so many seconds, by the frames' own times; what lies between is
        jumped over where the film allows it. scenes: the frames with which a scene begins; a number
        from 0 to 1 says how much of the picture has to change (True: 0.1). keyframes: those at
        which the film can be begun.
    max_side: longest side of a frame in pixels; None keeps the film's. format: "JPEG" (quality
        95), "PNG", "WEBP" (both lossless).
    max_frames: of one film; None: any number. max_pixels: of one frame, by the film's header.
    max_bytes: of a film that is fetched from a URL. allow_hosts: hosts with private addresses that
        a URL may name.
    timeout_s: from one frame to the next. max_memory_mb: of the worker's process. A film that
        breaks one is one failed row.

    A row is a child of its film (`parent_id`, `index`) with `time_s` from the film's first frame
    on, `is_keyframe`, and what is known of film and sound (`film_…`, `audio_…`; null: not stated).
    Frames are upright and have square pixels. Fields of interlaced films are not taken apart.
    A film that ends early, is damaged, or has more than max_frames keeps the frames it gave, and
    one more row, in `failures`, says what is missing. HDR, and a turn that is no quarter of a
    circle, are one failed row (`unsupported_format`): what they should look like is not guessed.
    Raises ValueError for a wrong option before any work, RunStopped as `stage.build`.
    """
    check_library()
    run = run_options(
        batch_size=batch_size,
        retry_failed=retry_failed,
        max_failed=max_failed,
        dry_run=dry_run,
    )
    check_max_pixels(max_pixels)
    _check_frame_options(max_side, format, max_frames)
    wanted = Wish.of(every_s, scenes, keyframes)
    inputs = film_inputs(films, out, [*FRAME_COLUMNS.names, "parent_id", "index"])
    count = sum(one.rows.num_rows for one in inputs.values())
    options: dict[str, Any] = {
        wanted.way: wanted.value,
        "max_side": max_side,
        "format": format,
        "max_frames": max_frames,
    }
    made = FrameRows(wanted, max_side, format, max_frames, max_pixels, decoder_threads(count))
    limits = engine.Limits(timeout_s, max_memory_mb)
    plan = stage.Stage(
        name="frames",
        options=options,
        operation={
            "stage": "frames",
            "version": pins.stage_version(FrameRows, FRAMES_VERSION),
            **options,
        },
        inputs=inputs,
        work=FilmWork(
            PartWriter(Folder(out), part_schema(FRAME_COLUMNS)),
            Films(max_bytes, tuple(allow_hosts)),
            made,
        ),
        shape=Shape(FRAME_COLUMNS, children=True),
        limits=limits,
        circumstances={
            "max_pixels": max_pixels,
            "max_bytes": max_bytes,
            "allow_hosts": list(allow_hosts),
            "timeout_s": timeout_s,
            "max_memory_mb": max_memory_mb,
        },
        can_retry=True,
        # A film takes minutes: of a unit of many a kill would lose them all.
        unit_rows=1,
    )
    return stage.build(plan, out, **run)


def decoder_threads(films: int) -> int:
    """Threads for each film: where there are fewer films than workers, the others' share."""
    return max(1, engine.workers() // max(1, films))


def _check_frame_options(max_side: Any, format: Any, max_frames: Any) -> None:
    for name, value in {"max_side": max_side, "max_frames": max_frames}.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{name} is a whole number above 0, or None, not {value!r}")
    if format not in FRAME_FORMATS:
        raise ValueError(f"format is 'JPEG', 'PNG' or 'WEBP', not {format!r}")
