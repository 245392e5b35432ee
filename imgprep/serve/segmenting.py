"""`segment` as a step: a picture too large for a request,
in a process of its own, with its progress told.

As a program: `python -m imgprep.serve.segmenting SOURCE OUT OPTIONS`, which prints a line of JSON
when it ends.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from imgprep.serve.answers import Refusal, Result
from imgprep.serve.objects import Album
from imgprep.serve.operations import job_id
from imgprep.serve.programs import Tell, run_program

NAME = "segment"
STEP_OPTIONS = ("operator", "min_area", "fill_holes", "connectivity", "objects")
# What a segmentation leaves beside its masks -> the type that it is served as.
KEPT_OPTIONS = {
    "mask": "image/tiff",
    "labels": "image/tiff",
    "objects": "application/vnd.apache.parquet",
    "geojson": "application/geo+json",
}


def checked_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options of a step `segment`. Refusal where one is none of them."""
    unknown = given.keys() - set(STEP_OPTIONS)
    if unknown:
        told = f"segment has no option {min(unknown)!r}; it has: {', '.join(STEP_OPTIONS)}"
        raise Refusal("wrong_option", told)
    operator = given.get("operator", "otsu-tissue")
    words = operator if isinstance(operator, list) else [operator]
    # A model's file or name would be read by whoever may ask: only the words of the built-in
    # operators.
    for word in words:
        is_plain = isinstance(word, int | float | str)
        text = str(word).strip()
        # "." within the first word is a file's ending; 0.5 is a number.
        if not is_plain or not text or "/" in text or "." in text.split()[0][1:]:
            told = f"operator: numbers and words such as 'otsu', not {word!r}"
            raise Refusal("wrong_option", told)
    return given


async def segmented(
    album: Album, name: str, options: dict[str, Any], tell: Tell
) -> dict[str, tuple[bytes, str]]:
    """What comes of it: name -> bytes and type, the overlay among them.

    Refusal with the row's reason.

    tell: gets each line of progress.
    """
    with tempfile.TemporaryDirectory(prefix="imgprep-segment-") as folder:
        source = await album.lent(name, Path(folder))
        words = [str(source), f"{folder}/out", json.dumps(options)]
        row = await run_program(__name__, words, tell)
        return await asyncio.to_thread(_collected, f"{folder}/out", row)


async def segment_outcome(
    album: Album, name: str, options: dict[str, Any], tell: Tell
) -> dict[str, Any]:
    """What comes of the step: where mask, labels and objects are. Raises as `segmented`."""
    found = await segmented(album, name, options, tell)
    results = {}
    for kind, (body, media_type) in found.items():
        result_id = job_id(f"segment-{kind}", options, name)
        await album.keep(name, result_id, Result(body, media_type))
        results[kind] = f"/v1/results/{result_id}"
    return {"status": "ok", "reason": "", "error": "", "results": results}


def _collected(out: str, row: dict[str, Any]) -> dict[str, tuple[bytes, str]]:
    found = {}
    for column, media_type in KEPT_OPTIONS.items():
        if row.get(column):
            found[column] = Path(out, row[column]).read_bytes(), media_type
    return found


def main() -> None:
    """Segment one picture; the last line is its row."""
    import imgprep
    from imgprep.stages import segmentation

    source, out, options = sys.argv[1:]
    # "local": Ray would be started for one picture.
    imgprep.session("local")
    try:
        found = segmentation.segment(source, out, max_failed=1.0, **json.loads(options))
    except ValueError as e:
        row = {"status": "failed", "reason": "error", "error": str(e)}
    else:
        columns = ["status", "reason", "error", *KEPT_OPTIONS]
        assert found is not None  # it was no dry run
        row = found.table(found.splits[0], columns).to_pylist()[0]
    print(json.dumps({"row": row}), flush=True)
    imgprep.close()


if __name__ == "__main__":
    main()
