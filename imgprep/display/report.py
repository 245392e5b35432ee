"""The report: one HTML file that says what a pipeline made, shows it, and says how to make it again.

The page needs no network and no other file. What it says is worked out in findings.py; how it looks is in
templates/report.html.
"""

import hashlib
import os
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.display import findings
from imgprep.display.findings import name
from imgprep.display.pictures import caption, every_row, label_column, public, size_text, spread, thumbnail
from imgprep.project import made_with, project_root
from imgprep.words import bytes_text

GOAL_BYTES = 5 << 20  # opens at once and passes a mail gateway
SHARES = (1, 0.5, 0.25, 0.1, 0)  # of the pictures shown, until the page is small enough
OUTLIERS = [  # title, what is measured, its unit, how it is written, is the upper end the odd one
    ("Darkest", "brightness", "mean, of 255", "{:.0f}", False),
    ("Brightest", "brightness", "mean, of 255", "{:.0f}", True),
    ("Blurriest", "sharpness", "variance of the Laplacian", "{:.3g}", False),
    ("Emptiest", "entropy", "bits per pixel", "{:.2f}", False),
]


def write(
    path: str | Path,
    datasets: Sequence[Dataset | str | Path],
    *,
    title: str,
    parameters: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
    command: str = "",
    steps: Sequence[dict[str, Any]] = (),
) -> Path:
    """Write the report of a pipeline's datasets, given in the order they were made, and return its path.

    parameters and defaults: what the run was given, and what it would have been. command: the line that makes it again.
    steps: one {"notebook", "seconds", "status"} per notebook. The same datasets give the same page, except for what it
    says on time. ValueError: no dataset, or a folder that is none.
    """
    if not datasets:
        raise ValueError("a report needs at least one dataset")
    stages = [ds if isinstance(ds, Dataset) else dataset.open(str(ds)) for ds in datasets]
    label = label_column(every_row(stages[-1])[0])
    first, last = findings.rows(stages[0], label), findings.rows(stages[-1], label)
    ok, splits = first[(first.status == "ok") & ~first.is_size], stages[0].splits
    measured = findings.measure(stages[0], ok)
    facts = {
        "title": title,
        "splits": [{"name": s, "rows": int((ok.split == s).sum())} for s in splits],
        **findings.outcome(stages, last),
        "label": label or "",
        "classes": findings.tally(ok.label, ok.split, splits) if label else [],
        "formats": findings.tally(ok.format, ok.split, splits),
        "histograms": findings.histograms(ok, splits),
        "duplicates": findings.duplicates(ok, measured),
        "variants": findings.sizes(stages[-1]),
        "masks": [m for stage in stages for m in findings.masks(stage)],
        "time": findings.time(stages, steps),
        "published": findings.published(stages),
        "command": public(command),
        **_provenance(stages, parameters or {}, defaults or {}),
    }
    groups = facts["duplicates"]["groups"]
    machine = {**facts, "duplicates": {**facts["duplicates"], "groups": groups[:1000]}}
    template = _template()
    for share in SHARES:
        pictures = {
            "gallery": _gallery(stages, first, last, label, int(90 * share)),
            "clusters": _clusters(stages[0], ok, groups, round(6 * share)),
            "overlays": _overlays(stages, round(4 * share)),
            "shown_variants": _variants(stages[-1], facts["variants"], round(3 * share)),
            "outliers": _outliers(stages[0], measured, round(6 * share)),
        }
        page = template.render(**facts, **pictures, machine=machine).encode("utf-8", "replace")
        if len(page) <= GOAL_BYTES:
            break
    path = Path(path)
    Folder(path.parent).put(path.name, page)
    return path


def _provenance(stages: list[Dataset], parameters: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Parameters (what differs from its default marked), versions, commit, and sha256 of the files that went in."""
    shown, inputs = [], {}
    for key, value in parameters.items():
        changed = key in defaults and defaults[key] != value
        shown.append({"name": key, "value": public(value), "changed": changed, "default": public(defaults.get(key))})
        file = os.path.join(project_root(), value) if isinstance(value, str) else ""
        if os.path.isfile(file):  # not Path.is_file: that raises for a text longer than a file's name can be
            with open(file, "rb") as stream:
                inputs[public(value)] = hashlib.file_digest(stream, "sha256").hexdigest()
    made = [{"name": name(ds), **{k: ds.info[k] for k in ("stage", "operation", "complete")}} for ds in stages]
    return {"parameters": shown, "inputs": inputs, **made_with(), "stages": made}


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imgprep.display"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        num="{:,}".format, size=bytes_text, share=lambda n, of: f"{n / max(of, 1):.1%}",
        many=lambda n, word: f"{n:,} {word}" + "s" * (n != 1),
    )  # fmt: skip
    return environment.get_template("report.html")


# Pictures ------------------------------------------------------------------------------------------------------------


def _draw(ds: Dataset, rows: pd.DataFrame, px: int) -> pd.Series:
    """The pictures of rows of a dataset as data: URIs, with the index of the rows."""
    uris = pd.Series("", rows.index)
    for split, these in rows.groupby("split", sort=False):
        for start in range(0, len(these), 16):  # originals may be large
            some = these[start : start + 16]
            uris[some.index] = [thumbnail(data, px) for data in ds.pictures(split, some.row.astype(int).tolist())]
    return uris


def _gallery(
    stages: list[Dataset], first: pd.DataFrame, last: pd.DataFrame, label: str | None, most: int
) -> list[dict[str, Any]]:
    """About `most` ready pictures: of the twelve commonest labels as many of every split, evenly spread."""
    ok = last[(last.status == "ok") & ~last.is_size]
    sizes = ok.label.value_counts()
    words = sorted(sizes.index, key=lambda v: (-sizes[v], v))[:12]
    splits = stages[-1].splits
    each = min(6 if label else 24, -(-most // max(1, len(words) * len(splits))))
    parts = [ok[(ok.label == word) & (ok.split == split)] for word in words for split in splits]
    tiles = _tiles(stages, first, pd.concat([ok[:0], *(part.iloc[spread(len(part), each)] for part in parts)]))
    return [
        {"name": (caption(word, 60) or f"no {label}") if label else "all", "size": int(sizes[word]),
         "tiles": [tile for tile in tiles if tile["label"] == word]} for word in words
    ]  # fmt: skip


def _tiles(stages: list[Dataset], first: pd.DataFrame, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the page shows of each row: its picture small and large, and the one it was made from in the first stage."""
    origin = first[(first.status == "ok") & first.image_id.isin(rows.image_id)] if len(stages) > 1 else first[:0]
    rows = rows.merge(origin, how="left", on=["split", "image_id"], suffixes=("", "_before"))
    made = rows[rows.row_before.notna()]
    rows = rows.assign(
        small=_draw(stages[-1], rows, 160), large=_draw(stages[-1], rows, 400),
        before=_draw(stages[0], made.assign(row=made.row_before), 400),
    ).fillna({"before": ""})  # fmt: skip
    return [
        {"label": row.label, "split": row.split, "small": row.small, "large": row.large, "before": row.before,
         "alt": caption(", ".join(filter(None, [row.label, row.split, row.image_id])), 90),
         "source": caption(row.source, 120), "text": _size(row), "before_text": row.before and _size(row, "_before")}
        for row in rows.itertuples()
    ]  # fmt: skip


def _size(row: Any, suffix: str = "") -> str:
    width, height, kind, nbytes = (getattr(row, c + suffix) for c in ("width", "height", "format", "nbytes"))
    return f"{width:,.0f} × {height:,.0f} · {kind} · {bytes_text(nbytes)}"


def _overlays(stages: list[Dataset], most: int) -> list[dict[str, str]]:
    """The first pictures with their masks on them, large enough to see objects."""
    shown = []
    for ds in stages:
        table, places = every_row(ds)
        if "failed_tiles" in table.column_names:
            ids = table["image_id"].to_pylist()
            rows = np.flatnonzero([bool(mask) for mask in table["mask"].to_pylist()])[:most]
            uris = _draw(ds, places.iloc[rows], 640)
            shown += [{"uri": uri, "name": caption(ids[n], 90)} for uri, n in zip(uris, rows, strict=True)]
    return shown


def _variants(ds: Dataset, sizes: list[dict[str, Any]], most: int) -> list[list[dict[str, Any]]]:
    """Pictures in all of their sizes, beside one another."""
    if not sizes:
        return []
    table, places = every_row(ds)
    frame = table.select(["parent_id", "variant", "status"]).to_pandas().join(places)
    parents = frame[frame.status == "ok"].parent_id.unique()
    shown = []
    for parent in parents[spread(len(parents), most)]:
        these = frame[(frame.parent_id == parent) & (frame.status == "ok")].drop_duplicates("variant")
        rows = table.take(these.index.to_list()).to_pylist()
        texts = [f"{row['variant']}: {size_text(row)}" for row in rows]
        shown.append([{"uri": uri, "text": text} for uri, text in zip(_draw(ds, these, 256), texts, strict=True)])
    return shown


def _clusters(ds: Dataset, ok: pd.DataFrame, groups: list[dict], most: int) -> list[dict]:
    """At most so many groups of each kind, with up to twelve members and a picture, of look-alikes two."""
    shown = []
    for _, kind in groupby(groups, lambda g: (g["leak"], g["exact"])):  # their order
        for group in islice(kind, most):
            rows = ok[ok.sha256.isin(group["shas"])]
            members = rows.head(12)[["split", "image_id", "label", "source"]].map(caption, most=90).to_dict("records")
            pictures = _draw(ds, rows.drop_duplicates("sha256").head(2), 160).tolist()
            shown.append({**group, "members": members, "pictures": pictures, "sources": rows.source.nunique()})
    return shown


def _outliers(ds: Dataset, measured: pd.DataFrame, most: int) -> list[dict]:
    """The ends of the scales: so many pictures of each, and never more than a tenth of all."""
    n, kinds = min(most, -(-len(measured) // 10)), []
    for title, column, unit, text, upper in OUTLIERS if n else []:
        rows = measured.sort_values(column, ascending=not upper, kind="stable").head(n)
        tiles = [
            {"uri": uri, "value": text.format(getattr(r, column)), "alt": caption(f"{r.split} {r.image_id}", 90)}
            for uri, r in zip(_draw(ds, rows, 160), rows.itertuples(), strict=True)
        ]
        kinds.append({"name": title, "unit": unit, "tiles": tiles})
    return kinds
