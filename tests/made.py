"""Pictures and tables that the tests of the stages make themselves, and what stands in a folder."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from imgprep import sample
from imgprep.dataset import Dataset
from imgprep.picture import codec
from imgprep.stages import variants


def picture(n: int, size_wh: tuple[int, int] = (24, 16)) -> np.ndarray:
    """A picture that no other number gives: (H, W, 3) uint8."""
    rng = np.random.default_rng(n)
    return np.kron(rng.integers(0, 256, (2, 2, 3), np.uint8), np.ones((size_wh[1] // 2, size_wh[0] // 2, 1), np.uint8))


def folder(path: Path, n: int) -> list[str]:
    """n PNG files; returns their paths."""
    path.mkdir(exist_ok=True)
    for i in range(n):
        (path / f"{i:04d}.png").write_bytes(codec.encode(picture(i)))
    return [str(path / f"{i:04d}.png") for i in range(n)]


def in_sizes(home: Path, n: int, more: dict[str, bytes] | None = None) -> Dataset:
    """n pictures in three sizes, and what comes of the files `more`: name -> bytes."""
    folder(home / "in", n)
    for name, data in (more or {}).items():
        (home / "in" / name).write_bytes(data)
    return variants.build(str(home / "in"), str(home / "sizes"), thumbnail_side=8)


def table(paths: list[str], **columns: list) -> pa.Table:
    """The table that `sources.read` would give for these paths."""
    ids = [hashlib.sha256(p.encode()).hexdigest()[:8] + f"-{i}" for i, p in enumerate(paths)]
    return pa.table({"image_id": ids, **columns, "source": paths})


def tree(path: Path | str) -> dict[str, str]:
    """What stands in a dataset folder, without the log of its runs: name -> sha256."""
    root = Path(path)
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and "runs" not in f.parts]
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def of_sample(home: Path | str) -> dict:
    """What must come of the sample's tables in this folder: {"rows": n, "ok": n, "reasons": {word: n}}.

    That is with 127.0.0.1 in allow_hosts, at least two attempts, and a timeout_s between 1.5 and 5.
    """
    about = json.loads((Path(home) / "sample.json").read_text())
    rows = sample.plan(about["rows"], about["port"])
    reasons = Counter(sample.URL_KINDS[row.kind][1] for row in rows if row.kind in sample.URL_KINDS)
    del reasons[""]
    return {"rows": len(rows), "ok": len(rows) - reasons.total(), "reasons": dict(sorted(reasons.items()))}


def flip_bit(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
