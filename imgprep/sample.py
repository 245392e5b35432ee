"""The demo's sample: tables, pictures of products with true labels, and what must come of them.

`plan` is the single source: tables, pictures and the expected outcome all follow from its rows. A URL says what it will
do: `/photo/…` answers, `/slow/…` answers late, `/dripping/…` is never done (see KINDS, and sample_server.py).
"""

import csv
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from imgprep import packshot, sample_server
from imgprep.project import project_root, resolve

PORT = 8377  # fixed, because a row is known by its URL
FORMAT = 1  # raise it when plan or pictures change: samples made before are then made again

# The rows that are not plain `photo`: kind -> (how many in 1,200, the reason they end with; "" = they come out ok).
KINDS = {
    "rotated": (12, ""),  # lies on its side, and its EXIF says so
    "slow": (6, ""),  # after one second
    "moved": (6, ""),  # redirects to the picture
    "flaky": (5, ""),  # 500 the first time
    "busy": (2, ""),  # 429 and Retry-After: 1 the first time
    "again": (6, ""),  # the URL of an earlier row
    "copy": (4, ""),  # another URL, the bytes of an earlier row
    "leak": (1, ""),  # a copy, in test, of a row of train
    "missing": (6, "http_404"),
    "truncated": (3, "truncated"),  # a whole answer with three fifths of a JPEG
    "html": (3, "not_an_image"),  # a page called .jpg and sent as image/jpeg
    "short": (2, "truncated"),  # ends before its Content-Length
    "dripping": (2, "timeout"),  # five bytes per second (`too_slow` where timeout_s is over the 5 s that show it)
    "noai": (2, "opted_out"),
    "endless": (1, "too_large"),
    "bomb": (1, "too_many_pixels"),  # a PNG of 110 kB and 900 megapixels
    "loop": (1, "too_many_redirects"),
    "metadata": (1, "blocked_address"),  # redirects to the link-local address where clouds keep credentials
    "null": (1, "bad_url"),
    "ftp": (1, "unsupported_scheme"),
}
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


def plan(rows: int = 1200, seed: int = 7, port: int = PORT) -> list[Row]:
    """The rows in table order, five sixths of them train; the kinds in proportion, at least one row of each."""
    if rows < 60:
        raise ValueError(f"rows={rows} is too few: the sample needs 60 rows to hold one of every misbehaviour")
    rng, train = random.Random(seed), rows * 5 // 6
    kinds = ["photo"] * rows
    kinds[rng.randrange(train, rows)] = "leak"
    # the first third stays plain: copies need an original, and a table's first rows are what people look at
    for end, is_twin in ((train, True), (rows, False)):  # twins in train alone: one leak is enough
        some = [k for k, (n, _) in KINDS.items() if k != "leak" and (k in TWINS) == is_twin
                for _ in range(max(1, round(n * rows / 1200)))]  # fmt: skip
        free = [at for at in range(rows // 3, end) if kinds[at] == "photo"]
        for at, kind in zip(rng.sample(free, len(some)), some, strict=True):
            kinds[at] = kind
    out: list[Row] = []
    for at, kind in enumerate(kinds):
        split = "train" if at < train else "test"
        if kind in TWINS:
            twin = out[rng.randrange(rows // 3)]
            url = twin.url if kind == "again" else re.sub(r"-\d+\.", f"-{at:04d}.", twin.url)
            out.append(replace(twin, split=split, kind=kind, url=url))
            continue
        product, entity, value = packshot.choose(rng)
        ending = rng.choices(["jpg", "png", "webp"], [95, 2, 3])[0] if kind == "photo" else "jpg"
        name = f"{product.name.lower().replace(' ', '-')}-{at:04d}.{ending}"
        url = f"{'ftp' if kind == 'ftp' else 'http'}://127.0.0.1:{port}/{kind}/{name}"
        out.append(Row(split, kind, "" if kind == "null" else url, at, product, entity, value))
    return out


def make(folder: str | Path, *, rows: int = 1200, seed: int = 7, port: int = PORT) -> dict[str, Path]:
    """Make the sample in `folder`: train.csv, test.csv and pictures/. One that was made with these arguments stays.

    Returns {"train": path, "test": path}. The same arguments and versions give the same bytes; the folder appears when
    it is whole. A sample made with other arguments is replaced; a folder that holds anything else raises ValueError.
    """
    folder = Path(folder).absolute()
    about = {"format": FORMAT, "rows": rows, "seed": seed, "port": port}
    tables = {split: folder / f"{split}.csv" for split in ("train", "test")}
    if _about(folder) == about:
        return tables
    if folder.exists() and not _about(folder) and any(folder.iterdir()):
        raise ValueError(f"{folder} holds something else: name an empty or a new folder for the sample")
    todo = plan(rows, seed, port)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
        new = Path(work, "new")
        (new / "pictures").mkdir(parents=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda row: _picture(row, seed, new / "pictures"), todo):
                pass  # takes the exceptions out of the threads
        _table(new / "train.csv", ["image_link", "group_id", "entity_name", "entity_value"], todo)
        _table(new / "test.csv", ["index", "image_link", "group_id", "entity_name"], todo)
        (new / "sample.json").write_text(json.dumps(about))
        if folder.exists():
            folder.rename(Path(work, "old"))
        try:
            new.rename(folder)
        except OSError:  # another process was faster
            if _about(folder) != about:
                raise
    return tables


def expected(folder: str | Path, split: str | None = None) -> dict:
    """What must come of the tables in `folder`: {"rows": n, "ok": n, "reasons": {word: n}}, of one split or of both.

    That is with 127.0.0.1 in allow_hosts, at least two attempts, and a timeout_s between 1.5 and 5.
    """
    about = _known(folder)
    rows = [r for r in plan(about["rows"], about["seed"], about["port"]) if split in (None, r.split)]
    reasons = Counter(KINDS[r.kind][1] for r in rows if r.kind in KINDS)
    del reasons[""]
    return {"rows": len(rows), "ok": len(rows) - reasons.total(), "reasons": dict(sorted(reasons.items()))}


def ready(*paths: str | Path) -> None:
    """If one of `paths` lies in the project's own sample, make that and serve it while this process lives.

    Otherwise do nothing. For the first cell of a notebook whose defaults are the sample.
    """
    home = project_root() / "data" / "sample"
    if home in _handles or not any(Path(resolve(path)).is_relative_to(home) for path in paths if path):
        return
    if (_about(home) or {}).get("format") != FORMAT:
        print(f"making the sample in {home.relative_to(project_root())}: 1,200 pictures, once")
        make(home)
    _handles[home] = serve(home)


_handles: dict[Path, ExitStack] = {}


def _about(folder: str | Path) -> dict | None:
    """What the sample in `folder` was made with; None when there is none."""
    try:
        return json.loads(Path(folder, "sample.json").read_text())
    except (OSError, ValueError):
        return None


def _known(folder: str | Path) -> dict:
    about = _about(folder)
    if not about:
        raise ValueError(f"no sample in {folder}: make it with imgprep.sample.make({str(folder)!r})")
    return about


def _table(path: Path, columns: list[str], rows: list[Row]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        out.writeheader()
        for index, row in enumerate(row for row in rows if row.split == path.stem):
            group = zlib.crc32(row.product.name.encode()) % 900_000 + 100_000
            out.writerow({"index": index, "image_link": row.url, "group_id": group,
                          "entity_name": row.entity, "entity_value": row.value})  # fmt: skip


def _picture(row: Row, seed: int, folder: Path) -> None:
    """Write the file that the row's URL serves; some kinds have none."""
    file = folder / row.url.rpartition("/")[2]
    if row.kind in ("missing", "loop", "metadata", "null", "ftp", "again"):
        return
    if row.kind == "html":
        file.write_text("<!doctype html><title>Sign in</title><p>Please sign in to see this picture.")
        return
    if row.kind == "bomb":
        file.write_bytes(_bomb(30_000))
        return
    image = packshot.draw(row.product, row.entity, row.value, seed=f"{seed}-{row.drawing}")
    turn, orientation = ((1, 6), (2, 3), (3, 8))[row.drawing % 3] if row.kind == "rotated" else (0, 1)
    quality = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 85], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 85]}.get(file.suffix, [])
    data = cv2.imencode(file.suffix, np.rot90(image, turn)[:, :, ::-1], quality)[1].tobytes()
    if row.kind == "rotated":
        tag = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + bytes(7)
        data = data[:2] + b"\xff\xe1\0\x22Exif\0\0" + tag + data[2:]
    file.write_bytes(data[: len(data) * 3 // 5] if row.kind == "truncated" else data)


def _bomb(side: int) -> bytes:
    """A valid PNG of side x side black one-bit pixels: small to send, huge to open."""
    packer, line = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    pixels = b"".join(packer.compress(line * 100) for _ in range(side // 100)) + packer.flush()
    header = side.to_bytes(4) * 2 + b"\x01\0\0\0\0"
    chunks = [b"IHDR" + header, b"IDAT" + pixels, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join((len(c) - 4).to_bytes(4) + c + zlib.crc32(c).to_bytes(4) for c in chunks)


def serve(folder: str | Path) -> ExitStack:
    """Serve the sample in `folder` on the port that its tables name, from a process of its own.

    A server of the same sample that already runs is used. It lives as long as anybody who called this: it ends when the
    last handle is closed (`close()`, `with`) or its process is gone, however that died. ValueError when the port is
    somebody else's.
    """
    port, identity = _known(folder)["port"], sample_server.identity(folder)
    for _ in range(3):  # a server that was found may just be ending; then there is room for our own
        if line := _hold(port, identity):
            return line
        # A process: a busy notebook would slow a thread. A session: the stop button must not reach it.
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        child = subprocess.Popen(
            [sys.executable, "-m", "imgprep.sample_server", str(Path(folder).absolute()), "--while-held"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 20
        while child.poll() is None and time.monotonic() < until:
            if line := _hold(port, identity):
                handle = ExitStack()
                handle.callback(_reap, child)
                handle.push(line)
                return handle
            time.sleep(0.02)
    raise ValueError(f"port {port} cannot be used; `python -m imgprep.sample_server {folder}` says why")


def _hold(port: int, identity: str) -> ExitStack | None:
    """A held connection to this sample's server; None when nobody is there; ValueError when somebody else is."""
    line, handle = http.client.HTTPConnection("127.0.0.1", port, timeout=5), ExitStack()
    handle.callback(line.close)
    try:
        line.request("GET", f"{sample_server.IDENTITY}?hold={identity}")
        if line.getresponse().read(64) == identity.encode():
            return handle
    except ConnectionError:
        handle.close()
        return None
    except (OSError, http.client.HTTPException):
        pass  # it answers, but it is not ours
    handle.close()
    raise ValueError(f"port {port} is in use by another program or sample: stop that, or make the sample with port=…")


def _reap(child: subprocess.Popen) -> None:
    with suppress(subprocess.TimeoutExpired):  # others may hold it still
        child.wait(1)
