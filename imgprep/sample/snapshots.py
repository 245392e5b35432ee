"""Four good photographs, and the same four as they come: noisy, blurred, small, in a warm haze."""

import tempfile
from pathlib import Path

from PIL import Image

from imgprep.picture import tuning
from imgprep.sample import packshot

SNAPPED = ("chelsea.png", "coffee.png", "flower.jpg", "rocket.jpg")


def make_snapshots(folder: str | Path) -> None:
    """Write them into a new folder; one that is there stays as it is. By name, the good come first.

    As PNG: noise that was compressed is another thing.
    """
    folder = Path(folder)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".snapshots-", dir=folder.parent) as work:
        new = Path(work, "new")
        new.mkdir()
        for name, damage in zip(SNAPPED, tuning.damages(), strict=True):
            photo = packshot.photograph(name)
            stem = Path(name).stem
            worn = damage.name.replace(" ", "-")
            Image.fromarray(photo).save(new / f"good-{stem}.png")
            Image.fromarray(damage.make(photo)).save(new / f"worn-{stem}-{worn}.png")
        new.rename(folder)
