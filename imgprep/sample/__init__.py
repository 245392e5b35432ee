"""The demo's sample: tables, pictures of products with true labels, and what must come of them.

`plan` is the single source: tables, pictures and the expected outcome all follow from its rows. A URL says what it will
do: `/photo/…` answers, `/slow/…` answers late, `/dripping/…` is never done (see KINDS, and sample_server.py).
"""

import json
import os
import random
import re
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from imgprep.project import project_root, resolve
from imgprep.sample import packshot
from imgprep.sample.server import serve

PORT = 8377  # fixed, because a row is known by its URL
FORMAT = 2  # raise it when plan or pictures change: samples made before are then made again

# The rows that are not plain `photo`: kind -> (how many in 1,200, the reason they end with; "" = they come out ok).
KINDS = {
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
    "dripping": (4, "timeout"),  # five bytes per second (`too_slow` where timeout_s is over the 5 s that show it)
    "endless": (2, "too_large"),
    "null": (1, "bad_url"),
}
PRINTS = ("coffee.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg", "clock_motion.png")
TWINS = ("again", "copy", "leak")


@dataclass(frozen=True)
class Row:
    """A row of the tables. Rows with the same `drawing` show the same picture."""

    split: str
    kind: str
    url: str
    drawing: int
    product: packshot.Product
    entity: str
    value: str


def plan(rows: int = 1200, port: int = PORT) -> list[Row]:
    """The rows in table order, five sixths of them train; the kinds in proportion, at least one row of each."""
    if rows < 60:
        raise ValueError(f"rows={rows} is too few: the sample needs 60 rows to hold one of every misbehaviour")
    rng, train, kinds = random.Random(7), rows * 5 // 6, ["photo"] * rows
    for kind, (n, _) in KINDS.items():
        # the first third stays plain: copies need an original, and a table's first rows are what people look at
        start, end = (train, rows) if kind == "leak" else (rows // 3, train if kind in TWINS else rows)
        free = [at for at in range(start, end) if kinds[at] == "photo"]
        for at in rng.sample(free, max(1, round(n * rows / 1200))):
            kinds[at] = kind
    out: list[Row] = []
    for at, kind in enumerate(kinds):
        split = "train" if at < train else "test"
        if kind in TWINS:
            twin = out[rng.randrange(rows // 3)]
            url = twin.url if kind == "again" else re.sub(r"-\d+\.", f"-{at:04d}.", twin.url)
            out.append(replace(twin, split=split, kind=kind, url=url))
            continue
        product = rng.choice(packshot.PRODUCTS)
        ending = rng.choices(["jpg", "png", "webp"], [95, 2, 3])[0] if kind == "photo" else "jpg"
        url = f"http://127.0.0.1:{port}/{kind}/{product.name.lower().replace(' ', '-')}-{at:04d}.{ending}"
        out.append(Row(split, kind, "" if kind == "null" else url, at, product, *rng.choice(packshot.labels(product))))
    return out


def make(folder: str | Path, *, rows: int = 1200, port: int = PORT) -> dict[str, Path]:
    """Make the sample in `folder`: train.csv, test.csv and pictures/. One that was made with these arguments stays.

    Returns {"train": path, "test": path}. The same arguments and versions give the same bytes; the folder appears when
    it is whole. A sample made with other arguments is replaced; a folder that holds anything else raises ValueError.
    """
    folder, about = Path(folder).absolute(), {"format": FORMAT, "rows": rows, "port": port}
    if _about(folder) != about:
        if folder.exists() and not _about(folder) and any(folder.iterdir()):
            raise ValueError(f"{folder} holds something else: name an empty or a new folder for the sample")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
            new = Path(work, "new")
            (new / "pictures").mkdir(parents=True)
            todo = plan(rows, port)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda row: _picture(row, new / "pictures"), todo))
            for split in ("train", "test"):
                table = _table([row for row in todo if row.split == split])
                table.to_csv(new / f"{split}.csv", index=False, lineterminator="\n")
            (new / "sample.json").write_text(json.dumps(about))
            if folder.exists():
                folder.rename(Path(work, "old"))
            new.rename(folder)
    return {split: folder / f"{split}.csv" for split in ("train", "test")}


def prints(folder: str | Path, *, long_side: int = 3600) -> None:
    """Six large photographs, as artwork comes: with EXIF, one lying on its side, one with a place. None where it is."""
    folder = Path(folder)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prints-", dir=folder.parent) as work:
        new = Path(work, "new")
        new.mkdir()
        for number, name in enumerate(PRINTS):
            photo, exif = Image.fromarray(packshot.photograph(name)), Image.Exif()
            exif[0x010F], exif[0x0112] = "imgprep", 6 if number == 1 else 1  # maker, orientation
            if number == 1:
                photo = photo.transpose(Image.Transpose.ROTATE_90)
            if number == 2:
                exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}  # where it was taken
            size = [round(side * long_side / max(photo.size)) for side in photo.size]
            large = photo.resize(size, Image.Resampling.BICUBIC)
            large.save(new / f"{Path(name).stem}.jpg", quality=95, exif=exif)
        new.rename(folder)


def ready(*paths: str | Path | None) -> None:
    """If one of `paths` lies in the project's own sample, make that and serve it while this process lives.

    Otherwise do nothing. For the first cell of a notebook whose defaults are the sample.
    """
    home = project_root() / "data" / "sample"
    if "data/prints" in paths:  # notebook 03's
        prints(project_root() / "data" / "prints")
    if not any(Path(resolve(path)).is_relative_to(home) for path in paths if path):
        return
    if (_about(home) or {}).get("format") != FORMAT:
        print(f"making the sample in {home.relative_to(project_root())}: 1,200 pictures, once")
        make(home)
    serve(home)


def _about(folder: str | Path) -> dict | None:
    """What the sample in `folder` was made with; None when there is none."""
    try:
        return json.loads(Path(folder, "sample.json").read_text())
    except (OSError, ValueError):
        return None


def _table(rows: list[Row]) -> pd.DataFrame:
    columns = {
        "image_link": [row.url for row in rows],
        "group_id": [zlib.crc32(row.product.name.encode()) % 900_000 + 100_000 for row in rows],
        "entity_name": [row.entity for row in rows],
        "entity_value": [row.value for row in rows],
    }
    if rows[0].split == "test":
        columns = {"index": range(len(rows)), **columns}
        del columns["entity_value"]
    return pd.DataFrame(columns)


def _picture(row: Row, folder: Path) -> None:
    """Write the file that the row's URL serves; some kinds have none."""
    file = folder / row.url.rpartition("/")[2]
    if row.kind in ("missing", "null", "again"):
        return
    if row.kind == "html":
        file.write_text("<!doctype html><title>Sign in</title><p>Please sign in to see this picture.")
        return
    image = packshot.draw(row.product, row.entity, row.value, seed=str(row.drawing))
    tags = Image.Exif()
    if row.kind == "rotated":
        image, tags[0x0112] = np.rot90(image), 6  # EXIF: to be turned clockwise
    Image.fromarray(image).save(file, quality=85, **({"exif": tags} if len(tags) else {}))
    if row.kind == "truncated":
        data = file.read_bytes()
        file.write_bytes(data[: len(data) * 3 // 5])
