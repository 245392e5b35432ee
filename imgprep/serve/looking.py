"""What an upload is: its header, its tags, the bytes to keep.

Runs in a worker; the server itself never imports it.
"""

import io
from typing import Any, BinaryIO

import numpy as np

from imgprep.failures import Failure
from imgprep.io.film.sniff import SNIFF_BYTES, film_kind
from imgprep.picture import codec, composition, metadata, tone
from imgprep.redaction import redact
from imgprep.rows.tag_entries import entry, plain_name
from imgprep.serve.operations import PICTURE_PIXELS

TAGGED_SIDE = 512  # what composition and tone are seen at
HEADER_BYTES = 1 << 20
POSTER_QUALITY = 90


def looked_at(data: bytes, keep_metadata: bool, called: str) -> tuple[bytes, dict[str, Any]]:
    """What an upload is, and the bytes to keep: without metadata where that needs no encoding.

    called: the name that people know it by; kept as one plain line. Of a film the bytes are its
    poster: the film itself is kept as it came.
    """
    name = plain_name(redact(called))
    if kind := film_kind(data[:SNIFF_BYTES]):
        return film_looked_at(io.BytesIO(data), kind, name)
    header = codec.probe(data, max_pixels=PICTURE_PIXELS)
    image = codec.decode(data, min_wh=(TAGGED_SIDE, TAGGED_SIDE), max_pixels=PICTURE_PIXELS)
    # Without an encoding: a picture that is kept for good must not lose quality on its way in.
    cleaned = None if keep_metadata else metadata.clean(data, max_pixels=PICTURE_PIXELS)
    facts = {
        "format": header.format,
        "width": header.width,
        "height": header.height,
        "has_metadata": cleaned is None,
        "tags": tags_of(image),
        "name": name,
    }
    return data if cleaned is None else cleaned, facts


def tags_of(image: np.ndarray) -> list[dict[str, Any]]:
    """Composition and tone of an upload, as entries of the column `tags`."""
    said = [*composition.composition_tags(image), *tone.tone_tags(image)]
    return [entry(one, source="imgprep heuristic", version="1") for one in said]


def film_looked_at(file: BinaryIO, kind: str, name: str) -> tuple[bytes, dict[str, Any]]:
    """The poster of a film, a JPEG, and what is known of it.

    Raises Failure for a film of which no frame can be shown. It is not read to its end: what is
    wrong further on is found by who works with it.
    """
    from imgprep.io.film.facts import facts_of  # PyAV is not everybody's
    from imgprep.io.film.library import check_library
    from imgprep.io.film.poster import poster_of
    from imgprep.io.film.reel import Reel

    try:
        check_library()
    except ValueError as e:
        raise Failure("missing_extra", str(e)) from None
    with Reel(file, max_pixels=PICTURE_PIXELS) as reel:
        image = poster_of(reel)
        known = facts_of(reel)
    facts = {
        "format": kind,
        "media": "film",
        "width": known.width,
        "height": known.height,
        "duration_s": known.duration_s,
        "rate": known.rate,
        "codec": known.codec,
        "audio_codec": known.audio_codec,
        "note": known.note,
        "has_metadata": True,
        "tags": tags_of(image),
        "name": name,
    }
    return codec.encode(image, "JPEG", quality=POSTER_QUALITY), facts


def file_looked_at(path: bytes, called: str) -> tuple[bytes, dict[str, Any]]:
    """What a large upload is, by its header; its bytes stay where they are."""
    name = plain_name(redact(called))
    with open(path, "rb") as file:
        top = file.read(HEADER_BYTES)
        if kind := film_kind(top[:SNIFF_BYTES]):
            return film_looked_at(file, kind, name)
    header = codec.probe(top, max_pixels=None)

    from imgprep.io import rasters  # needs an extra

    with rasters.open_raster(path.decode()) as raster:
        size = {"width": raster.width, "height": raster.height}
    return b"", {"format": header.format, **size, "has_metadata": True, "name": name}
