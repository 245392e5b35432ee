"""The pictures of the report: a gallery, before and after, sizes, masks, duplicates, the odd
ones.
"""

from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import pandas as pd

from imgprep.dataset import Dataset
from imgprep.display import findings, likeness
from imgprep.display.films import FRAMES_SHOWN, film_strips
from imgprep.display.found import drawn_objects
from imgprep.display.funnel import deal_as
from imgprep.display.pictures import caption, every_row, size_text, spread, thumbnail
from imgprep.words import bytes_text

GALLERY, CLUSTERS, OVERLAYS, VARIANTS, OUTLIERS = 90, 6, 4, 3, 6  # so many at most
FILMS_SHOWN = 6
BOXES_SHOWN = 6
FEW_PICTURES = 8  # pictures
MOST_LABELS = 12  # in the gallery, the commonest
SMALL_PX, LARGE_PX, OVERLAY_PX, VARIANT_PX = 160, 400, 640, 256
READ = 16  # pictures at once: originals may be large
SCALES = [  # title, what is measured, its unit, how it is written, is the upper end the odd one
    ("Darkest", "brightness", "mean, of 255", "{:.0f}", False),
    ("Brightest", "brightness", "mean, of 255", "{:.0f}", True),
    ("Blurriest", "sharpness", "variance of the Laplacian", "{:.3g}", False),
    ("Emptiest", "entropy", "bits per pixel", "{:.2f}", False),
]


@dataclass(frozen=True)
class ReportRows:
    """The datasets of a report, and their rows as its sections look at them."""

    stages: list[Dataset]
    label: str | None
    splits: list[str]
    first: pd.DataFrame  # rows of the first stage: the pictures as they came
    last: pd.DataFrame
    ok: pd.DataFrame  # those of the first that are pictures, each once
    measured: pd.DataFrame

    @classmethod
    def of(cls, stages: list[Dataset], label: str | None) -> "ReportRows":
        """Read all rows, and look at a bounded number of pictures."""
        first = findings.all_rows(stages[0], label)
        last = findings.all_rows(stages[-1], label)
        # Leaks and balance are those of the splits that pictures are in now.
        is_dealt = deal_as(first, last)
        splits = stages[-1].splits if is_dealt else stages[0].splits
        is_ok = first.status == "ok"
        ok = first[is_ok & ~first.is_size & first.split.isin(splits)]
        measured = likeness.measured_rows(stages[0], ok)
        return cls(stages, label, splits, first, last, ok, measured)


def drawn(
    seen: ReportRows,
    groups: list[dict[str, Any]],
    sizes: list[dict[str, Any]],
    share: float,
    min_score: float = 0.0,
) -> dict[str, Any]:
    """All pictures of the page; share: of the number that is shown where there is room."""
    first, last = seen.stages[0], seen.stages[-1]
    return {
        "gallery": _gallery(seen, int(GALLERY * share)),
        "films": film_strips(last, round(FILMS_SHOWN * share), FRAMES_SHOWN) or [],
        "found": drawn_objects(
            last, round(BOXES_SHOWN * share), OVERLAY_PX, min_score=min_score
        ),
        "clusters": _cluster_pictures(first, seen.ok, groups, round(CLUSTERS * share)),
        "overlays": _overlays(seen.stages, round(OVERLAYS * share)),
        "shown_variants": _size_pictures(last, round(VARIANTS * share)) if sizes else [],
        "outliers": _outliers(first, seen.measured, round(OUTLIERS * share)),
    }


def _drawn(ds: Dataset, rows: pd.DataFrame, px: int) -> "pd.Series[str]":
    """The pictures of rows of a dataset as data: URIs, with the index of the rows."""
    uris = pd.Series("", rows.index)
    for home, these in rows.groupby("home", sort=False):
        for start in range(0, len(these), READ):
            some = these.iloc[start : start + READ]
            numbers = some.row.astype(int).tolist()
            for place, picture in zip(some.index, ds.pictures(str(home), numbers), strict=True):
                uris[place] = thumbnail(picture, px)
    return uris


def _gallery(seen: ReportRows, most: int) -> list[dict[str, Any]]:
    """About `most` ready pictures: of the commonest labels as many of every split, evenly
    spread.
    """
    is_ok = seen.last.status == "ok"
    ok = seen.last[is_ok & ~seen.last.is_size]
    sizes = ok.label.value_counts()
    words = sorted(sizes.index, key=lambda word: (-sizes[word], word))[:MOST_LABELS]
    splits = seen.stages[-1].splits
    strips_shown = max(1, len(words) * len(splits))
    each = min(6 if seen.label else 24, -(-most // strips_shown))
    parts = [ok[:0]]
    for word in words:
        of_word = ok[ok.label == word]
        for split in splits:
            part = of_word[of_word.split == split]
            parts.append(part.iloc[spread(len(part), each)])
    tiles = _tiles(seen, pd.concat(parts))
    shown = []
    for word in words:
        title = caption(word, 60) or f"no {seen.label}"
        these = [tile for tile in tiles if tile["label"] == word]
        strips: dict[str, list[dict[str, Any]]] = {}
        for tile in these:
            strips.setdefault(tile["split"], []).append(tile)
        shown.append(
            {
                "name": title if seen.label else "all",
                "size": int(sizes[word]),
                "tiles": these,
                "strips": strips,
            }
        )
    return shown


def _tiles(seen: ReportRows, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the page shows of each row: its picture small and large, and what it was made from in
    the first stage.
    """
    first, last = seen.stages[0], seen.stages[-1]
    origin = seen.first[seen.first.image_id.isin(rows.image_id)]
    origin = origin[origin.status == "ok"]
    if len(seen.stages) == 1:
        origin = origin[:0]
    # Left: a picture without an original beside it (a child, a new name) is shown all the same.
    rows = rows.merge(origin, how="left", on=["split", "image_id"], suffixes=("", "_before"))
    made = rows[rows.row_before.notna()]
    made = made.assign(row=made.row_before, home=made.home_before)
    rows = rows.assign(
        small=_drawn(last, rows, SMALL_PX),
        large=_drawn(last, rows, LARGE_PX),
        before=_drawn(first, made, LARGE_PX),
    )
    return [_shown_tile(row) for row in rows.fillna({"before": ""}).itertuples()]


def _shown_tile(row: Any) -> dict[str, Any]:
    words = [word for word in (row.label, row.split, row.image_id) if word]
    return {
        "label": row.label,
        "split": row.split,
        "small": row.small,
        "large": row.large,
        "before": row.before,
        "alt": caption(", ".join(words), 90),
        "source": caption(row.source, 120),
        "text": _tile_size(row),
        "before_text": _tile_size(row, "_before") if row.before else "",
    }


def _tile_size(row: Any, suffix: str = "") -> str:
    names = ("width", "height", "of_width", "of_height", "format", "nbytes")
    width, height, of_width, of_height, kind, nbytes = (
        getattr(row, name + suffix) for name in names
    )
    size = f"{of_width:,.0f} × {of_height:,.0f}"
    if (width, height) != (of_width, of_height):
        return f"{size}, here {width:,.0f} × {height:,.0f}"
    return f"{size} · {kind} · {bytes_text(nbytes)}"


def _overlays(stages: list[Dataset], most: int) -> list[dict[str, str]]:
    """The first pictures with their masks on them, large enough to see objects."""
    shown = []
    for ds in stages:
        table, places = every_row(ds)
        if "failed_tiles" not in table.column_names:
            continue
        ids = table["image_id"].to_pylist()
        rows = np.flatnonzero([bool(mask) for mask in table["mask"].to_pylist()])[:most]
        uris = _drawn(ds, places.iloc[rows].rename(columns={"split": "home"}), OVERLAY_PX)
        for uri, row in zip(uris, rows, strict=True):
            shown.append({"uri": uri, "name": caption(ids[row], 90)})
    return shown


def _size_pictures(ds: Dataset, most: int) -> list[list[dict[str, Any]]]:
    """Pictures in all of their sizes, beside one another."""
    table, places = every_row(ds)
    frame = table.select(["parent_id", "variant", "status"]).to_pandas()
    frame = frame.join(places.rename(columns={"split": "home"}))
    frame = frame[frame.status == "ok"]
    parents = frame.parent_id.unique()
    shown = []
    for parent in parents[spread(len(parents), most)]:
        these = frame[frame.parent_id == parent].drop_duplicates("variant")
        rows = table.take(these.index.to_list()).to_pylist()
        line = []
        for row, uri in zip(rows, _drawn(ds, these, VARIANT_PX), strict=True):
            line.append({"uri": uri, "text": f"{row['variant']}: {size_text(row)}"})
        shown.append(line)
    return shown


def _cluster_pictures(
    ds: Dataset, ok: pd.DataFrame, groups: list[dict[str, Any]], most: int
) -> list[dict[str, Any]]:
    """At most so many groups of each kind, with up to twelve members and a picture, of look-alikes
    two.
    """
    shown = []
    # In their order, which keeps each kind together.
    for _, kind in groupby(groups, lambda group: (group["leak"], group["exact"])):
        for group in islice(kind, most):
            rows = ok[ok.sha256.isin(group["shas"])]
            members = rows.head(12)[["split", "image_id", "label", "source"]]
            pictures = _drawn(ds, rows.drop_duplicates("sha256").head(2), SMALL_PX)
            shown.append(
                {
                    **group,
                    "members": members.map(caption, most=90).to_dict("records"),
                    "pictures": pictures.tolist(),
                    "sources": rows.source.nunique(),
                }
            )
    return shown


def _outliers(ds: Dataset, measured: pd.DataFrame, most: int) -> list[dict[str, Any]]:
    """The ends of the scales: so many pictures of each, and never more than a tenth of all."""
    # A tenth: of twenty pictures two are odd, not six.
    n = min(most, -(-len(measured) // 10))
    # Of a few pictures every one would be an odd one.
    if not n or len(measured) < FEW_PICTURES:
        return []
    kinds = []
    for title, column, unit, text, upper in SCALES:
        # stable: equal values keep their order, so two runs show the same pictures.
        rows = measured.sort_values(column, ascending=not upper, kind="stable").head(n)
        uris = _drawn(ds, rows, SMALL_PX)
        tiles = []
        for uri, row in zip(uris, rows.itertuples(), strict=True):
            value = text.format(getattr(row, column))
            alt = caption(f"{row.split} {row.image_id}", 90)
            tiles.append({"uri": uri, "value": value, "alt": alt})
        kinds.append({"name": title, "unit": unit, "tiles": tiles})
    return kinds
