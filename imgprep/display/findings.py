"""What is to be said about a pipeline's datasets: the facts of the report, without page and
pictures.

They come from every row. What needs decoded pictures is in `likeness`.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.dataset.counts import commonest_error
from imgprep.display import charts
from imgprep.display.funnel import funnels
from imgprep.display.pictures import caption, every_row, meaning
from imgprep.words import number_of

ROW_COLUMNS = [
    "image_id",
    "source",
    "width",
    "height",
    "format",
    "nbytes",
    "sha256",
    "status",
    "reason",
    "error",
]
RUN_FACTS = ["started", "engine", "workers", "seconds", "computed", "reused", "attempts", "bytes"]
TRUTH_MEASURES = [("IoU", "iou"), ("F1", "f1"), ("PQ", "pq")]
EXAMPLES = 5  # of each reason
VALUES = 20  # lines of a tally


def dataset_name(ds: Dataset) -> str:
    """The last part of a dataset's path: what people call it."""
    return ds.folder.rstrip("/").rsplit("/", 1)[-1]


def all_rows(ds: Dataset, label: str | None) -> pd.DataFrame:
    """All rows of all splits, in order: ROW_COLUMNS, and what the sections look at.

    label: text, of the column of that name. home, row: where each stands. split: as home, until
    `funnel.deal_as` says otherwise. parent: of a child. is_size: it is a further size of a picture
    that has a row of its own. of_width, of_height: of the picture that the row is about; of a mask
    only a small overview is kept.
    """
    table, places = every_row(ds)
    frame: pd.DataFrame = table.select(ROW_COLUMNS).to_pandas()
    frame = frame.fillna({"source": "", "format": ""})
    # Text for all: a label may be a number, and is compared with words.
    frame["label"] = ["" if cell is None else str(cell) for cell in _column_cells(table, label)]
    for side in ("width", "height"):
        whole = pd.Series(_column_cells(table, f"source_{side}"), dtype=float)
        frame[f"of_{side}"] = whole.fillna(frame[side])
    frame["parent"] = _column_cells(table, "parent_id")
    frame["is_size"] = [
        size not in (None, ds.configs[0]) for size in _column_cells(table, "variant")
    ]
    frame["split"] = places["split"]
    frame["home"] = places["split"]
    frame["row"] = places["row"]
    return frame


def _column_cells(table: pa.Table, name: str | None) -> list[Any]:
    """The cells of a column; None in every row where there is no such column."""
    if name not in table.column_names:
        return [None] * table.num_rows
    cells: list[Any] = table[name].to_pylist()
    return cells


def stage_outcome(stages: list[Dataset], last: pd.DataFrame) -> dict[str, Any]:
    """The verdict, what is left after each stage, and why rows are not ok, with five examples."""
    counts = stages[-1].counts()
    names = [dataset_name(ds) for ds in stages]
    reasons = [
        _reason_facts(word, n, last[last.reason == word]) for word, n in counts["reasons"].items()
    ]
    return {
        "verdict": dataset.summary(counts, stages[-1].noun),
        "counts": counts,
        "funnel": funnels(stages, names),
        "reasons": reasons,
    }


def _reason_facts(word: str, n: int, rows: pd.DataFrame) -> dict[str, Any]:
    examples = rows.head(EXAMPLES)[["split", "image_id", "source", "error"]]
    said, times = commonest_error(without_own_names(rows))
    if word != "error" and "…" in said:
        # "there is no '…'" says no more than the reason.
        said, times = "", 0
    return {
        "word": word,
        "meaning": meaning(word),
        "rows": n,
        "splits": rows.split.value_counts(sort=False).to_dict(),
        "said": caption(said, 200),
        "times": times,
        "examples": examples.map(caption, most=200).to_dict("records"),
    }


def without_own_names(rows: pd.DataFrame) -> Iterator[str]:
    """The rows' errors. What differs from row to row, its source and its name, is … in all."""
    columns = (rows.error, rows.source, rows.image_id)
    for error, source, image_id in zip(*columns, strict=True):
        for own in (source, os.path.basename(source), image_id):
            # A name such as "1" stands in other words, too.
            if len(own) > 3:
                error = error.replace(own, "…")
        yield error


def variant_sizes(ds: Dataset) -> list[dict[str, Any]]:
    """Of each size that `variants.build` made: pictures, bytes, medians, qualities, and how many
    were kept.
    """
    table, _ = every_row(ds)
    if not {"variant", "quality", "outcome"} <= set(table.column_names):
        return []
    columns = ["variant", "outcome", "quality", "width", "height", "nbytes", "status"]
    frame = table.select(columns).to_pandas()
    lines = []
    # sort=False: in the order in which the sizes were asked for.
    for size, these in frame[frame.status == "ok"].groupby("variant", sort=False):
        sides = these[["width", "height"]].max(axis=1)
        lines.append(
            {
                "name": size,
                "pictures": len(these),
                "bytes": int(these.nbytes.sum()),
                "quality": _quality(these.quality),
                "median": int(these.nbytes.median()),
                "side": int(sides.median()),
                "kept": int((these.outcome != "encoded").sum()),
            }
        )
    return lines


def _quality(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    if pd.isna(low):
        return ""
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def masks(ds: Dataset) -> list[dict[str, Any]]:
    """Of each picture that `segmentation.segment` made a mask of: counts, measures, the threshold's
    histogram.
    """
    table, _ = every_row(ds)
    if not is_masks(table):
        return []
    wanted = (
        "image_id", "count", "foreground", "threshold", "tiles", "failed_tiles", "f1", "pq", "iou",
    )  # fmt: skip
    lines = []
    for row in table.to_pylist():
        if row["mask"]:
            line = {key: row[key] for key in wanted}
            line["size"] = row["source_width"], row["source_height"]
            lines.append({**line, "path": "", **charts.of_threshold(row)})
    return lines


def is_masks(table: pa.Table) -> bool:
    """Is this a table of what `segmentation.segment` made?"""
    return {"mask", "histogram", "failed_tiles"} <= set(table.column_names)


def masks_in_words(masks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the masks say together, as {"text", "is_bad"}: objects, foreground, measures,
    failures.
    """
    if not masks:
        return []
    frame = pd.DataFrame(masks)
    pictures = number_of(len(masks), "picture")
    found = [f"{frame.foreground.mean():.1%} foreground in {pictures}"]
    if frame["count"].notna().any():
        found.insert(0, number_of(int(frame["count"].sum()), "object"))
    notes = [{"text": ", ".join(found), "is_bad": False}]
    measures = [
        f"{name} {frame[key].median():.3f}"
        for name, key in TRUTH_MEASURES
        if frame[key].notna().any()
    ]
    if measures:
        text = f"Against the truth, the median of the pictures: {', '.join(measures)}"
        notes.append({"text": text, "is_bad": False})
    if failed := int(frame.failed_tiles.sum()):
        tiles = number_of(int(frame.tiles.sum()), "tile")
        text = f"{failed:,} of {tiles} failed: their part of the mask is empty"
        notes.append({"text": text, "is_bad": True})
    return notes


def tally(values: pd.Series, split: pd.Series, splits: list[str]) -> list[dict[str, Any]]:
    """Pictures per value and split, the commonest values first, the rest in one line."""
    counts = pd.crosstab(values, split).reindex(columns=splits, fill_value=0)
    # By name where counts are equal, or the page would differ from run to run.
    order = sorted(counts.index, key=lambda value: (-counts.loc[value].sum(), value))
    counts = counts.loc[order]
    lines = []
    for value, line in counts[:VALUES].iterrows():
        lines.append({"name": caption(value, 60) or "(none)", "counts": line.tolist()})
    if len(counts) > VALUES:
        others = counts[VALUES:]
        lines.append({"name": f"{len(others)} others", "counts": others.sum().tolist()})
    return lines


def time(stages: list[Dataset], notebooks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last ten runs of each stage, oldest first, and what each notebook took."""
    runs = []
    for ds in stages:
        # Ten: who runs a pipeline every night wants the last ones.
        for run in ds.runs()[-10:]:
            runs.append({"name": dataset_name(ds), **{key: run[key] for key in RUN_FACTS}})
    return {"runs": runs, "notebooks": list(notebooks)}


def published(stages: list[Dataset]) -> list[dict[str, str]]:
    """Where each dataset stands on the Hub, as its last run of `publish` left it."""
    found = []
    for ds in stages:
        runs = [run for run in ds.runs() if run.get("commit")]
        if runs:
            facts = {key: runs[-1][key] for key in ("repo", "url", "commit", "tag")}
            found.append({"name": dataset_name(ds), **facts})
    return found
