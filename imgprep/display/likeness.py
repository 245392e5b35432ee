"""Which pictures are equal or look alike, and which are the odd ones.

What needs decoded pictures comes from at most SAMPLE of them, evenly placed and the same each time.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pandas as pd

from imgprep.dataset import Dataset
from imgprep.display.pictures import spread
from imgprep.picture import codec, similar

SAMPLE = 20_000  # pictures that are decoded: with SAMPLE_PIXELS about a minute on two cores
SAMPLE_PIXELS = 4e9
MOST_PIXELS = 1e8  # of one picture
PICTURE_BYTES = 128 << 20  # pictures in memory at once
RUN_LENGTH = 100  # neighbours that are sampled together: few files are read
# Correlation of two small grey pictures. Measured: 0.92 of one layout with other products, 0.98 of
# a crop by 3 %.
LOOKS_ALIKE = 0.94
MEASURED_COLUMNS = ["hash", "look", "brightness", "sharpness", "entropy"]


def measured_rows(ds: Dataset, ok: pd.DataFrame) -> pd.DataFrame:
    """A bounded part of the ok rows, every distinct picture once, with the columns
    MEASURED_COLUMNS.
    """
    # Equal bytes are equal pictures: one of them is decoded.
    part = _sampled(ok.drop_duplicates("sha256"))
    found: dict[Any, tuple[Any, ...]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for home, these in part.groupby("home", sort=False):
            # So many bytes are held at once.
            batch = these.nbytes.cumsum() // PICTURE_BYTES
            for _, some in these.groupby(batch):
                pictures = ds.pictures(str(home), some.row.tolist())
                looks = pool.map(_look_of, pictures)
                for place, look in zip(some.index, looks, strict=True):
                    if look:
                        found[place] = look
    frame = pd.DataFrame.from_dict(found, orient="index", columns=MEASURED_COLUMNS)
    return part.join(frame, how="inner")


def _sampled(part: pd.DataFrame) -> pd.DataFrame:
    """Runs of neighbours, evenly placed, where there are more pictures or pixels than are looked
    at.
    """
    pixels = part.width.astype(float) * part.height
    # One of a gigapixel would take the time of all the others.
    part = part[pixels <= MOST_PIXELS]
    if not len(part):
        return part
    most = int(min(SAMPLE, SAMPLE_PIXELS / max(pixels.mean(), 1)))
    if len(part) <= most:
        return part
    runs = spread(-(-len(part) // RUN_LENGTH), max(1, most // RUN_LENGTH))
    return part[np.isin(np.arange(len(part)) // RUN_LENGTH, runs)]


def _look_of(data: bytes) -> tuple[int, np.ndarray, float, float, float] | None:
    try:
        image = codec.decode(data, min_wh=(512, 512))
    except codec.DecodeError:
        # An original that was kept although it does not decode.
        return None
    small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).ravel()
    # Without their mean and length: a dot product of two is their correlation then.
    around = grey - grey.mean()
    look = (around / max(float(np.linalg.norm(around)), 1e-6)).astype(np.float32)
    return (
        similar.phash(image),
        look,
        similar.brightness(image),
        similar.sharpness(image),
        similar.entropy(image),
    )


def duplicates(ok: pd.DataFrame, measured: pd.DataFrame) -> dict[str, Any]:
    """Groups of rows with equal bytes, and groups that look alike: those across splits first, then
    the largest.

    measured: what `measured_rows` gave; only these pictures are compared by their looks.
    """
    clusters = _clusters(measured)
    alike = {sha for cluster in clusters for sha in cluster}
    wanted = ok.sha256.duplicated(keep=False) | ok.sha256.isin(alike)
    # By hand: groupby takes 20 s for 160,000 groups.
    splits_of: dict[str, list[str]] = {}
    for sha, split in zip(ok.sha256[wanted], ok.split[wanted], strict=True):
        splits_of.setdefault(sha, []).append(split)
    groups = []
    for sha, splits in splits_of.items():
        if len(splits) > 1:
            groups.append(_group([sha], splits, exact=True))
    for cluster in clusters:
        splits = [split for sha in cluster for split in splits_of[sha]]
        groups.append(_group(cluster, splits, exact=False))
    # Leaks first: those spoil a test, all others only cost room.
    groups.sort(key=lambda group: (not group["leak"], not group["exact"], -group["size"]))
    return {"groups": groups, "compared": len(measured), "distinct": int(ok.sha256.nunique())}


def _group(shas: list[str], splits: list[str], *, exact: bool) -> dict[str, Any]:
    """splits: of each row. leak: the group is in more than one."""
    names = list(dict.fromkeys(splits))
    return {
        "exact": exact,
        "shas": shas,
        "splits": names,
        "size": len(splits),
        "leak": len(names) > 1,
    }


def _clusters(measured: pd.DataFrame) -> list[list[str]]:
    """The sha256 of pictures that look alike, by near hashes and then by their looks."""
    shas = measured.sha256.tolist()
    looks = measured.look.tolist()
    clusters = []
    # mirrored: a flipped copy in the test set is a leak as well.
    for near in similar.near(measured["hash"].tolist(), mirrored=True):
        for group in _correlated(near, looks):
            clusters.append([shas[place] for place in group])
    return clusters


def _correlated(cluster: list[int], looks: list[np.ndarray]) -> list[list[int]]:
    """A cluster of near hashes without what only shares a layout: groups that look like their first
    member.
    """
    groups = []
    left = np.array(cluster)
    while len(left) > 1:
        close = np.stack([looks[place] for place in left]) @ looks[left[0]] >= LOOKS_ALIKE
        # A picture is like itself, but 0.9999 of rounding might not be.
        close[0] = True
        if close.sum() > 1:
            groups.append(left[close].tolist())
        left = left[~close]
    return groups
