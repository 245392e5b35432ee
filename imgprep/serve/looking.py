"""What an upload is: its header, its tags, the bytes to keep. Runs in a worker; the server itself never imports it."""

from typing import Any

import numpy as np

from imgprep.picture import codec, composition, metadata, tone
from imgprep.redaction import redact
from imgprep.serve.operations import PICTURE_PIXELS
from imgprep.stages.tags.entries import entry, plain_name

TAGGED_SIDE = 512  # what composition and tone are seen at
HEADER_BYTES = 1 << 20


def looked_at(data: bytes, keep_metadata: bool, called: str) -> tuple[bytes, dict[str, Any]]:
    """What an upload is, and the bytes to keep: without metadata where that needs no encoding.

    called: the name that people know it by; kept as one plain line.
    """
    header = codec.probe(data, max_pixels=PICTURE_PIXELS)
    image = codec.decode(data, min_wh=(TAGGED_SIDE, TAGGED_SIDE), max_pixels=PICTURE_PIXELS)
    cleaned = None if keep_metadata else metadata.clean(data, max_pixels=PICTURE_PIXELS)
    facts = {
        "format": header.format,
        "width": header.width,
        "height": header.height,
        "has_metadata": cleaned is None,
        "tags": tags_of(image),
        "name": plain_name(redact(called)),
    }
    return data if cleaned is None else cleaned, facts


def tags_of(image: np.ndarray) -> list[dict[str, Any]]:
    """Composition and tone of an upload, as entries of the column `tags`."""
    said = [*composition.composition_tags(image), *tone.tone_tags(image)]
    return [entry(one, source="imgprep heuristic", version="1") for one in said]


def file_looked_at(path: bytes) -> tuple[bytes, dict[str, Any]]:
    """What a large upload is, by its header; its bytes stay where they are."""
    from imgprep.io import rasters  # needs an extra

    with open(path, "rb") as file:
        header = codec.probe(file.read(HEADER_BYTES), max_pixels=None)
    with rasters.open_raster(path.decode()) as raster:
        size = {"width": raster.width, "height": raster.height}
    return b"", {"format": header.format, **size, "has_metadata": True}
