"""The demo's tables and pictures of products with true labels, and what must come of them.

`plan` is the single source: tables, pictures and the expected outcome all follow from its rows. A
URL says what it will do: `/photo/…` answers, `/slow/…` answers late, `/dripping/…` is never done
(see URL_KINDS, and server.py).
"""

import contextlib
import json
import os
import random
import re
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from imgprep.sample import packshot

PORT = 8377  # of all URLs, because a row is known by its URL; who listens elsewhere says so
FORMAT = 2  # raise it when plan or pictures change: samples made before are then made again
ROWS = 1200
SLIDE = "slide"  # a folder beside the tables, of notebook 04: it may have been there first
ORIENTATION_TAG = 0x0112  # EXIF

# The rows that are not plain `photo`: kind -> how many in 1,200, and the reason they end with.
URL_KINDS = {
    "rotated": (12, ""),  # lies on its side, and its EXIF says so
    "slow": (6, ""),  # after one second
    "flaky": (5, ""),  # 500 the first time
    "busy": (2, ""),  # 429 and Retry-After: 1 the first time
    "again": (6, ""),  # the URL of an earlier row
    "copy": (4, ""),  # another URL, the bytes of an earlier row
    "leak": (1, ""),  # a copy, in test, of a row of train
    "missing": (9, "http_404"),
    "truncated": (4, "truncated"),  # three fifths of a JPEG
    "html": (4, "not_an_image"),  # a page called .jpg and sent as image/jpeg
    "dripping": (4, "timeout"),  # five bytes a second (`too_slow` where timeout_s is over 5 s)
    "endless": (2, "too_large"),
    "null": (1, "bad_url"),
}
TWINS = ("again", "copy", "leak")


@dataclass(frozen=True)
class SampleRow:
    """A row of the tables. Rows with the same `drawing` show the same picture."""

    split: str
    kind: str
    url: str
    drawing: int
    product: packshot.Product
    entity: str
    value: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


def plan(rows: int = ROWS, port: int = PORT) -> list[SampleRow]:
    """The rows in table order, five sixths of them train; at least one row of each kind."""
    if rows < 60:
        needs = "the sample needs 60 rows to hold one of every misbehaviour"
        raise ValueError(f"rows={rows} is too few: {needs}")
    rng = random.Random(7)
    train = rows * 5 // 6
    out: list[SampleRow] = []
    for at, kind in enumerate(_kinds(rows, train, rng)):
        split = "train" if at < train else "test"
        if kind in TWINS:
            out.append(_twin(out[rng.randrange(rows // 3)], split, kind, at))
        else:
            out.append(_new(split, kind, at, port, rng))
    return out


def _kinds(rows: int, train: int, rng: random.Random) -> list[str]:
    kinds = ["photo"] * rows
    for kind, (count, _) in URL_KINDS.items():
        # The first third stays plain: copies need an original, and it is what people look at.
        start, end = rows // 3, train if kind in TWINS else rows
        if kind == "leak":
            start, end = train, rows
        free = [at for at in range(start, end) if kinds[at] == "photo"]
        for at in rng.sample(free, max(1, round(count * rows / ROWS))):
            kinds[at] = kind
    return kinds


def _twin(original: SampleRow, split: str, kind: str, at: int) -> SampleRow:
    url = original.url
    if kind != "again":
        url = re.sub(r"-\d+\.", f"-{at:04d}.", url)
    return replace(original, split=split, kind=kind, url=url)


def _new(split: str, kind: str, at: int, port: int, rng: random.Random) -> SampleRow:
    product = rng.choice(packshot.PRODUCTS)
    ending = "jpg"
    if kind == "photo":
        ending = rng.choices(["jpg", "png", "webp"], [95, 2, 3])[0]
    name = product.name.lower().replace(" ", "-")
    url = f"http://127.0.0.1:{port}/{kind}/{name}-{at:04d}.{ending}"
    entity, value = rng.choice(packshot.labels(product))
    return SampleRow(split, kind, "" if kind == "null" else url, at, product, entity, value)


def make_products(folder: str | Path, *, rows: int = ROWS, port: int = PORT) -> dict[str, Path]:
    """Make the sample in `folder`: train.csv, test.csv and pictures/.

    One that was made with these arguments stays. Returns {"train": path, "test": path}. The same
    arguments and versions give the same bytes; the folder appears when it is whole. A sample made
    with other arguments is replaced; a folder that holds anything else raises ValueError.
    """
    folder = Path(folder).absolute()
    about = {"format": FORMAT, "rows": rows, "port": port}
    there = about_sample(folder)
    if there != about:
        if folder.exists() and not there and any(name != SLIDE for name in os.listdir(folder)):
            fix = "name an empty or a new folder for the sample"
            raise ValueError(f"{folder} holds something else: {fix}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
            new = Path(work, "new")
            _write_sample(new, plan(rows, port), about)
            if folder.exists():
                folder.rename(Path(work, "old"))
            new.rename(folder)
            # Notebook 04's own, which nothing here makes again.
            with contextlib.suppress(FileNotFoundError):
                Path(work, "old", SLIDE).rename(folder / SLIDE)
    return {split: folder / f"{split}.csv" for split in ("train", "test")}


def about_sample(folder: str | Path) -> dict[str, Any] | None:
    """What the sample in `folder` was made with; None when there is none."""
    try:
        return json.loads(Path(folder, "sample.json").read_text())
    except (OSError, ValueError):
        return None


def _write_sample(folder: Path, rows: list[SampleRow], about: dict[str, Any]) -> None:
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda row: _write_picture(row, pictures), rows))
    for split in ("train", "test"):
        table = _table_of([row for row in rows if row.split == split])
        table.to_csv(folder / f"{split}.csv", index=False, lineterminator="\n")
    (folder / "sample.json").write_text(json.dumps(about))


def _table_of(rows: list[SampleRow]) -> pd.DataFrame:
    groups = [zlib.crc32(row.product.name.encode()) % 900_000 + 100_000 for row in rows]
    columns: dict[str, Any] = {
        "image_link": [row.url for row in rows],
        "group_id": groups,
        "entity_name": [row.entity for row in rows],
        "entity_value": [row.value for row in rows],
    }
    if rows[0].split == "test":
        columns = {"index": range(len(rows)), **columns}
        del columns["entity_value"]
    return pd.DataFrame(columns)


def _write_picture(row: SampleRow, folder: Path) -> None:
    """Write the file that the row's URL serves; some kinds have none."""
    file = folder / row.file
    if row.kind in ("missing", "null", "again"):
        return
    if row.kind == "html":
        page = "<!doctype html><title>Sign in</title><p>Please sign in to see this picture."
        file.write_text(page)
        return
    image = packshot.draw(row.product, row.entity, row.value, seed=str(row.drawing))
    if row.kind == "rotated":
        tags = Image.Exif()
        tags[ORIENTATION_TAG] = 6  # to be turned clockwise
        Image.fromarray(np.rot90(image)).save(file, quality=85, exif=tags)
        return
    Image.fromarray(image).save(file, quality=85)
    if row.kind == "truncated":
        data = file.read_bytes()
        file.write_bytes(data[: len(data) * 3 // 5])
