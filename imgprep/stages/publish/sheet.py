"""A small picture of some of the pictures, for the card."""

import contextlib
from typing import Any

import numpy as np

from imgprep.dataset import Dataset, Reader
from imgprep.dataset.files import Folder
from imgprep.display.pictures import spread
from imgprep.picture import codec, geometry
from imgprep.stages.publish.shards import PLACE, remembered

SHEET = "assets/samples.jpg"
TILE, ACROSS, DOWN = 160, 6, 2
SHEET_BORDER = 4


def prepare_sheet(ds: Dataset, files: list[dict]) -> dict[str, Any]:
    """The entry of a picture of twelve, evenly spread over the first config. files: as they are
    published."""
    folder = Folder(ds.folder)
    first = [f for f in files if f["config"] == ds.configs[0]]

    def make() -> dict[str, Any]:
        data = codec.encode(_sheet(folder, first), "JPEG", quality=85)
        with folder.create(lambda _: f"{PLACE}/{SHEET}") as sink:
            sink.write(data)
        return {"file": SHEET, "at": sink.name, "bytes": sink.bytes, "sha256": sink.sha256}

    return remembered(folder, ["sample", [f["sha256"] for f in first]], make)


def _sheet(folder: Folder, files: list[dict]) -> np.ndarray:
    rows = np.cumsum([f["rows"] for f in files])
    total = int(rows[-1])
    reader = Reader(folder, keep=1)
    sheet = np.full((DOWN * TILE, ACROSS * TILE, 3), 255, np.uint8)
    for place, row in enumerate(spread(total, ACROSS * DOWN)):
        n = int(np.searchsorted(rows, row, side="right"))
        file = files[n]
        before = int(rows[n]) - file["rows"]
        # A picture may be kept although it is truncated, or be kept elsewhere.
        with contextlib.suppress(codec.DecodeError):
            data = reader.picture(file["at"], row - before)
            _paste(sheet, place, data or b"")
    used = -(-min(total, ACROSS * DOWN) // ACROSS)
    return sheet[: used * TILE]


def _paste(
    sheet: np.ndarray,
    place: int,
    data: bytes,
) -> None:
    down, across = divmod(place, ACROSS)
    side = TILE - 2 * SHEET_BORDER
    top = down * TILE + SHEET_BORDER
    left = across * TILE + SHEET_BORDER
    image = codec.decode(data, min_wh=(TILE, TILE))
    small = geometry.fit_pad(image, (side, side), fill=255)
    sheet[top : top + side, left : left + side] = small
