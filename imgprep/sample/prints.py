"""Six large photographs, as artwork comes: with EXIF, one lying on its side, one with a place."""

import tempfile
from pathlib import Path

from PIL import Image

from imgprep.sample import packshot

PHOTOGRAPHS = (
    "coffee.png",
    "chelsea.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "clock_motion.png",
)
LYING, PLACED = 1, 2  # which of them
MAKER, ORIENTATION, GPS = 0x010F, 0x0112, 0x8825
PLACE_TAKEN = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}


def make_prints(folder: str | Path, *, long_side: int = 3600) -> None:
    """Write them into a new folder; one that is there stays as it is."""
    folder = Path(folder)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prints-", dir=folder.parent) as work:
        new = Path(work, "new")
        new.mkdir()
        for number, name in enumerate(PHOTOGRAPHS):
            _write_print(new / f"{Path(name).stem}.jpg", name, number, long_side)
        new.rename(folder)


def _write_print(file: Path, name: str, number: int, long_side: int) -> None:
    photo = Image.fromarray(packshot.photograph(name))
    exif = Image.Exif()
    exif[MAKER] = "imgprep"
    exif[ORIENTATION] = 1
    if number == LYING:
        exif[ORIENTATION] = 6
        photo = photo.transpose(Image.Transpose.ROTATE_90)
    if number == PLACED:
        exif[GPS] = PLACE_TAKEN
    scale = long_side / max(photo.size)
    size_wh = (round(photo.width * scale), round(photo.height * scale))
    large = photo.resize(size_wh, Image.Resampling.BICUBIC)
    large.save(file, quality=95, exif=exif)
