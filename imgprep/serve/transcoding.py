"""`transcode` as a step: the ladder of a film, in a process of its own, with its progress told."""

import asyncio
import json
import tempfile
from typing import Any

from imgprep.serve.answers import Refusal
from imgprep.serve.ladders import LadderFiles, keep_ladder
from imgprep.serve.objects import Album
from imgprep.serve.operations import job_id
from imgprep.serve.places import is_film
from imgprep.serve.programs import Tell, run_program

TRANSCODE = "transcode"
PROGRAM = "imgprep.io.film.program"
LADDER_OPTIONS = ("sides", "codec", "crf", "preset", "thumbnail_s", "keep_truncated")
# What one client may ask of a machine that others use too.
MOST_SIDES = 6
LARGEST_SIDE = 2160
LEAST_THUMBNAIL_S = 0.5
SILENCE_S = 300.0


def ladder_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options of a step `transcode`: those of `film.transcode`. Refusal where one is wrong."""
    unknown = given.keys() - set(LADDER_OPTIONS)
    if unknown:
        known = ", ".join(LADDER_OPTIONS)
        raise Refusal("wrong_option", f"transcode has no option {min(unknown)!r}; it has: {known}")
    sides = given.get("sides", [360])
    is_list = isinstance(sides, list) and 0 < len(sides) <= MOST_SIDES
    # type(…) is int: True would be a side of one pixel.
    if not is_list or not all(type(side) is int and 2 <= side <= LARGEST_SIDE for side in sides):
        told = f"sides: up to {MOST_SIDES} whole numbers up to {LARGEST_SIDE}, such as [360, 720]"
        raise Refusal("wrong_option", told)
    thumbnail_s: Any = given.get("thumbnail_s")
    is_number = type(thumbnail_s) in (int, float)
    if thumbnail_s is not None and not (is_number and thumbnail_s >= LEAST_THUMBNAIL_S):
        told = f"thumbnail_s: seconds, {LEAST_THUMBNAIL_S} at least, or null"
        raise Refusal("wrong_option", told)
    if given.get("codec", "h264") not in ("h264", "av1"):
        raise Refusal("wrong_option", "codec: 'h264' or 'av1'")
    return given


async def transcoded(album: Album, name: str, options: dict[str, Any], tell: Tell) -> LadderFiles:
    """Make the ladder of a film; its files, which go when the caller closes them.

    Refusal with the film's reason; nothing is left of it then.
    """
    if not is_film(await album.record(name)):
        raise Refusal("not_a_film", "the object is a picture, no film")
    made = LadderFiles(tempfile.TemporaryDirectory(prefix="imgprep-transcode-"))
    try:
        source = await album.lent(name, made.home)
        words = [str(source), str(made.folder), json.dumps(options)]
        made.row = await run_program(PROGRAM, words, tell, silence_s=SILENCE_S)
    except BaseException:
        await asyncio.to_thread(made.close)
        raise
    return made


async def ladder_outcome(
    album: Album, name: str, options: dict[str, Any], tell: Tell
) -> dict[str, Any]:
    """What comes of the step: where playlist and pictures are. Raises as `transcoded`."""
    result_id = job_id(TRANSCODE, options, name)
    made = await transcoded(album, name, options, tell)
    try:
        results = await keep_ladder(album, name, result_id, made)
    finally:
        await asyncio.to_thread(made.close)
    found = {"status": "ok", "reason": "", "error": "", "results": results}
    return found | {"result": f"/v1/results/{result_id}"}
