"""What is to be said about a pipeline's datasets: the numbers of the report, without a page and without thumbnails.

They come from every row. What needs decoded pictures (look-alikes, outliers) comes from at most SAMPLE of them, evenly
placed and the same each time.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pandas as pd

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.display.pictures import caption, every_row, meaning, spread
from imgprep.picture import codec, similar
from imgprep.words import bytes_text

SAMPLE, SAMPLE_PIXELS = 20_000, 4e9  # pictures and pixels that are decoded: about a minute on two cores
ALIKE = 0.94  # correlation of two small grey pictures; measured: one layout with other products 0.92, a 3 % crop 0.98
RUN = 100  # neighbours that are sampled together: few files are read
COLUMNS = ["image_id", "source", "width", "height", "format", "nbytes", "sha256", "status", "reason", "error"]
MEASURES = ["hash", "look", "brightness", "sharpness", "entropy"]
RUN_FACTS = ["started", "engine", "workers", "seconds", "computed", "reused", "attempts", "bytes"]


def name(ds: Dataset) -> str:
    """The last part of a dataset's path: what people call it."""
    return ds.folder.rstrip("/").rsplit("/", 1)[-1]


def rows(ds: Dataset, label: str | None) -> pd.DataFrame:
    """All rows of all splits, in order: COLUMNS, `label` (text), `split`, and `row` (its number in the split).

    `is_size`: it is a further size of a picture that has a row of its own.
    """
    table, places = every_row(ds)
    sizes = table["variant"].to_pylist() if "variant" in table.column_names else []
    places["is_size"] = [size not in (None, ds.configs[0]) for size in sizes] or False
    cells = table[label].to_pylist() if label in table.column_names else [None] * table.num_rows
    words = ["" if v is None else str(v) for v in cells]
    return table.select(COLUMNS).to_pandas().fillna({"source": "", "format": ""}).assign(label=words).join(places)


def outcome(stages: list[Dataset], last: pd.DataFrame) -> dict[str, Any]:
    """The verdict, what is left after each stage, and why rows are not ok, each reason with five examples."""
    counts, funnel, reasons = stages[-1].counts(), [], []
    for split in stages[0].splits:
        steps = [{"name": name(ds), **ds.counts(split)} for ds in stages]
        start = {"name": "rows", "rows": steps[0]["rows"], "ok": steps[0]["rows"], "placeholder": 0, "failed": 0}
        funnel.append({"split": split, "steps": [start, *steps], "most": max(s["rows"] for s in steps)})
    for word, n in counts["reasons"].items():
        these = last[last.reason == word]
        examples = these.head(5)[["split", "image_id", "source", "error"]].map(caption, most=200).to_dict("records")
        places = these.split.value_counts(sort=False).to_dict()
        reasons.append({"word": word, "meaning": meaning(word), "rows": n, "splits": places, "examples": examples})
    return {"verdict": dataset.summary(counts), "counts": counts, "funnel": funnel, "reasons": reasons}


def sizes(ds: Dataset) -> list[dict[str, Any]]:
    """Of each size that `variants.build` made: pictures, bytes, medians, qualities, and how many were not encoded."""
    table, _ = every_row(ds)
    if not {"variant", "quality", "outcome"} <= set(table.column_names):
        return []
    frame = table.select(["variant", "outcome", "quality", "width", "height", "nbytes", "status"]).to_pandas()
    lines = []
    for size, these in frame[frame.status == "ok"].groupby("variant", sort=False):
        low, high = these.quality.min(), these.quality.max()
        quality = "" if pd.isna(low) else f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        side, kept = these[["width", "height"]].max(axis=1).median(), int((these.outcome != "encoded").sum())
        lines.append({"name": size, "pictures": len(these), "bytes": int(these.nbytes.sum()), "quality": quality,
                      "median": int(these.nbytes.median()), "side": int(side), "kept": kept})  # fmt: skip
    return lines


def masks(ds: Dataset) -> list[dict[str, Any]]:
    """Of each picture that `segmentation.segment` made a mask of: counts, measures, and the threshold's histogram.

    path: of the histogram in a box of bins x 92, its heights square roots; at: the place of the cut.
    """
    table, _ = every_row(ds)
    if not {"mask", "histogram", "failed_tiles"} <= set(table.column_names):
        return []
    lines = []
    for row in table.to_pylist():
        if not row["mask"]:
            continue
        line = {k: row[k] for k in ("image_id", "count", "foreground", "threshold", "tiles", "failed_tiles")}
        line |= {k: row[k] for k in ("f1", "pq", "iou")} | {"path": ""}
        line["size"] = row["source_width"], row["source_height"]
        if row["histogram"] and row["threshold"] is not None:
            heights, (low, high) = np.sqrt(row["histogram"]), row["histogram_range"]
            path = "M0 92" + "".join(f"V{92 - 84 * y / heights.max():.1f}h1" for y in heights) + "V92"
            at = (row["threshold"] - low) / max(high - low, 1e-9)
            line |= {"path": path, "bins": len(heights), "low": low, "high": high, "at": f"{at:.1%}"}
        lines.append(line)
    return lines


def tally(values: pd.Series, split: pd.Series, splits: list[str], most: int = 20) -> list[dict]:
    """Pictures per value and split, the commonest values first, the rest in one line."""
    counts = pd.crosstab(values, split).reindex(columns=splits, fill_value=0)
    counts = counts.loc[sorted(counts.index, key=lambda v: (-counts.loc[v].sum(), v))]
    lines = [{"name": caption(v, 60) or "(none)", "counts": c.tolist()} for v, c in counts[:most].iterrows()]
    if len(counts) > most:
        lines.append({"name": f"{len(counts) - most} others", "counts": counts[most:].sum().tolist()})
    return lines


def histograms(ok: pd.DataFrame, splits: list[str], bins: int = 24) -> list[dict]:
    """Bins and counts of sizes, and per split a path in a box of bins x 92: its heights are shares of the split."""
    charts = []
    if ok.empty:
        return charts
    for title, values, text in [
        ("Width, px", ok.width, "{:,.0f}".format),
        ("Height, px", ok.height, "{:,.0f}".format),
        ("Width : height", ok.width / ok.height, "{:.3g}".format),
        ("File size", ok.nbytes, bytes_text),
    ]:
        values = values.to_numpy(float)
        low, high = values.min(), values.max()
        bend, back = (np.log, np.exp) if high / low > 8 else (np.asarray, np.asarray)  # one giant must not flatten all
        edges = np.histogram_bin_edges(bend(values), bins)
        counts = [np.histogram(bend(values[ok.split == s]), edges)[0] for s in splits]
        shares = [c / max(c.sum(), 1) for c in counts]
        top, start, end = np.max(shares), edges[0], edges[-1]
        ticks = [{"at": f"{(bend(t) - start) / (end - start):.1%}", "text": text(t)} for t in _ticks(low, high)]
        paths = ["M0 92" + "".join(f"V{92 - 84 * y / top:.1f}h1" for y in s) + "V92" for s in shares]
        charts.append({"name": title, "median": text(np.median(values)), "low": text(low), "high": text(high),
                       "bins": bins, "edges": back(edges).round(4).tolist(), "ticks": ticks, "paths": paths,
                       "counts": dict(zip(splits, (c.tolist() for c in counts), strict=True))})  # fmt: skip
    return charts


def _ticks(low: float, high: float) -> list[float]:
    """Up to five round numbers from low to high: even steps, or 1-2-5 where the range spans a factor of more than 8.

    >>> _ticks(75, 1500), _ticks(0.5, 2), _ticks(24, 24)
    ([100, 200, 500, 1000], [0.5, 1.0, 1.5, 2.0], [24])
    """
    if low == high:
        return [low]
    rounds = [m * 10**e if e >= 0 else m / 10**-e for e in range(-3, 12) for m in (1, 2, 5)]
    if high / low > 8:
        inside = [r for r in rounds if low <= r <= high]
        return inside[:: -(-len(inside) // 5)]
    step = next(r for r in rounds if (high - low) / r <= 4)
    return [round(i * step, 3) for i in range(int(np.ceil(low / step)), int(high // step) + 1)]


def measure(ds: Dataset, ok: pd.DataFrame) -> pd.DataFrame:
    """A bounded part of the ok rows, every distinct picture once, with `hash`, `look` and the numbers of outliers."""
    part = ok.drop_duplicates("sha256")
    pixels = part.width.astype(float) * part.height
    part = part[pixels <= 1e8]
    most = int(min(SAMPLE, SAMPLE_PIXELS / max(pixels.mean(), 1))) if len(part) else 0
    if len(part) > most:
        runs = spread(-(-len(part) // RUN), max(1, most // RUN))
        part = part[np.isin(np.arange(len(part)) // RUN, runs)]
    found = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, these in part.groupby("split", sort=False):
            for _, some in these.groupby(these.nbytes.cumsum() // (128 << 20)):  # what is held at once
                found.update(zip(some.index, pool.map(_numbers, ds.pictures(split, some.row.tolist())), strict=True))
    numbers = {i: n for i, n in found.items() if n}
    return part.join(pd.DataFrame.from_dict(numbers, orient="index", columns=MEASURES), how="inner")


def _numbers(data: bytes) -> tuple[int, np.ndarray, float, float, float] | None:
    try:
        image = codec.decode(data, min_wh=(512, 512))
    except codec.DecodeError:  # an original that was kept although it does not decode
        return None
    grey = cv2.cvtColor(cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).ravel()
    look = (grey - grey.mean()) / max(np.linalg.norm(grey - grey.mean()), 1e-6)
    numbers = similar.brightness(image), similar.sharpness(image), similar.entropy(image)
    return similar.phash(image), look.astype(np.float32), *numbers


def _alike(cluster: list[int], looks: list[np.ndarray]) -> list[list[int]]:
    """A cluster of near hashes, without what only shares a layout: groups that correlate with their first member."""
    groups, left = [], np.array(cluster)
    while len(left) > 1:
        close = np.stack([looks[i] for i in left]) @ looks[left[0]] >= ALIKE
        close[0] = True
        groups.append(left[close].tolist())
        left = left[~close]
    return [group for group in groups if len(group) > 1]


def duplicates(ok: pd.DataFrame, measured: pd.DataFrame) -> dict[str, Any]:
    """Groups of rows with equal bytes, and groups that look alike: those across splits first, then the largest.

    measured: what `measure` gave; only these pictures are compared by their looks.
    """
    shas, looks = measured.sha256.tolist(), measured.look.tolist()
    near = similar.near(measured["hash"].tolist())
    clusters = [[shas[i] for i in group] for cluster in near for group in _alike(cluster, looks)]
    wanted = ok.sha256.duplicated(keep=False) | ok.sha256.isin([sha for c in clusters for sha in c])
    by_sha: dict[str, list[str]] = {}
    for sha, split in zip(ok.sha256[wanted], ok.split[wanted], strict=True):  # groupby: 20 s for 160,000 groups
        by_sha.setdefault(sha, []).append(split)
    groups = [{"exact": True, "shas": [sha], "splits": places} for sha, places in by_sha.items() if len(places) > 1]
    groups += [{"exact": False, "shas": c, "splits": [s for sha in c for s in by_sha[sha]]} for c in clusters]
    for group in groups:
        group["size"], group["splits"] = len(group["splits"]), list(dict.fromkeys(group["splits"]))
        group["leak"] = len(group["splits"]) > 1
    groups.sort(key=lambda g: (not g["leak"], not g["exact"], -g["size"]))
    return {"groups": groups, "compared": len(measured), "distinct": int(ok.sha256.nunique())}


def time(stages: list[Dataset], notebooks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last ten runs of each stage, oldest first, and what each notebook took."""
    runs = [{"name": name(ds), **{k: run[k] for k in RUN_FACTS}} for ds in stages for run in ds.runs()[-10:]]
    return {"runs": runs, "notebooks": list(notebooks)}


def published(stages: list[Dataset]) -> list[dict[str, str]]:
    """Where each dataset stands on the Hub, as its last run of `publish` left it."""
    logs = [(name(ds), [run for run in ds.runs() if run.get("commit")]) for ds in stages]
    return [{"name": word, **{k: runs[-1][k] for k in ("repo", "url", "commit", "tag")}} for word, runs in logs if runs]
