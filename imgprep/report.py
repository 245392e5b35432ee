"""The report: one HTML file that says what a pipeline made, shows it, and says how to make it again.

The page needs no network and no other file. What it says is worked out in findings.py; how it looks is in
templates/report.html.
"""

import hashlib
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from imgprep import __version__, dataset, findings
from imgprep.dataset import Dataset
from imgprep.findings import name
from imgprep.project import project_root
from imgprep.thumbnails import bytes_text, caption, label_column, public, spread, tables, thumbnail

GOAL_BYTES = 5 << 20  # opens at once and passes a mail gateway
SHARES = (1, 0.5, 0.25, 0.1, 0)  # of the pictures shown, until the page is small enough
PACKAGES = ["ray", "datasets", "pyarrow", "numpy", "pillow", "opencv-python-headless", "simplejpeg"]
SECTIONS = {
    "outcome": "Outcome", "gallery": "Gallery", "compare": "Before and after", "classes": "Classes", "sizes": "Sizes",
    "duplicates": "Duplicates", "outliers": "Odd ones", "time": "Time", "provenance": "Make it again",
}  # fmt: skip
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
    says on time. Does not create the folder. ValueError: no dataset, or a folder that is none.
    """
    if not datasets:
        raise ValueError("a report needs at least one dataset")
    stages = [ds if isinstance(ds, Dataset) else dataset.open(str(ds)) for ds in datasets]
    label = label_column(tables(stages[-1]))
    first, last = findings.rows(stages[0], label), findings.rows(stages[-1], label)
    ok, splits = first[first.status == "ok"], stages[0].splits
    measured = findings.measure(stages[0], ok)
    facts = {
        "title": title,
        "stages": [name(ds) for ds in stages],
        "splits": [{"name": s, "rows": int((ok.split == s).sum())} for s in splits],
        **findings.outcome(stages, last),
        "label": label or "",
        "classes": findings.tally(ok.label, ok.split, splits) if label else [],
        "formats": findings.tally(ok.format, ok.split, splits),
        "histograms": findings.histograms(ok, splits),
        "duplicates": findings.duplicates(ok, measured),
        "time": findings.time(stages, steps),
        "command": public(command),
        "unfinished": [name(ds) for ds in stages if not ds.info["complete"]],
        **_provenance(stages, parameters or {}, defaults or {}),
    }
    draw = _Thumbnails()
    for share in SHARES:
        page = _page(facts, stages, first, last, measured, share, draw)
        if len(page) <= GOAL_BYTES:
            break
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(page)
    os.replace(temporary, path)
    return path


def _provenance(stages: list[Dataset], parameters: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Parameters (what differs from its default marked), versions, commit, and sha256 of the files that went in."""
    shown, inputs, versions = [], {}, {"python": platform.python_version(), "imgprep": __version__}
    for key, value in parameters.items():
        changed = key in defaults and defaults[key] != value
        shown.append({"name": key, "value": public(value), "changed": changed, "default": public(defaults.get(key))})
        file = os.path.join(project_root(), value) if isinstance(value, str) else ""
        if os.path.isfile(file):  # not Path.is_file: that raises for a text longer than a file's name can be
            with open(file, "rb") as stream:
                inputs[public(value)] = hashlib.file_digest(stream, "sha256").hexdigest()
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    made = [{"name": name(ds), "stage": ds.info["stage"], "operation": ds.info["operation"]} for ds in stages]
    return {"parameters": shown, "inputs": inputs, "versions": versions, "commit": _commit(), "made": made}


def _commit() -> str:
    """The project's git commit, "" where there is none."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", project_root(), *words], capture_output=True, text=True, timeout=20).stdout

    try:
        commit = git("rev-parse", "--short=12", "HEAD").strip()
        return commit + (" and uncommitted changes" if commit and git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.TimeoutExpired):  # no git on this machine
        return ""


def _page(
    facts: dict[str, Any],
    stages: list[Dataset],
    first: pd.DataFrame,
    last: pd.DataFrame,
    measured: pd.DataFrame,
    share: float,
    draw: "_Thumbnails",
) -> bytes:
    """The page with `share` of the pictures. first, last: all rows of those stages; measured: what was decoded."""
    shown = last[last.status == "ok"]
    groups = _gallery(shown, facts["label"], stages[-1].splits, int(90 * share))
    chosen = _with_origin(pd.concat([shown[:0], *(g["rows"] for g in groups)]), first if len(stages) > 1 else first[:0])
    tiles, view = _tiles(stages, chosen, draw)
    again = [sha for g in facts["duplicates"]["groups"] for sha in g["shas"][1:]]
    for group in groups:
        group["tiles"], tiles = tiles[: len(group["rows"])], tiles[len(group["rows"]) :]
    context = {
        **facts,
        "gallery": groups,
        "pairs": _pairs(stages, chosen, round(6 * share), draw),
        "clusters": _clusters(stages[0], first, facts["duplicates"]["groups"], round(6 * share), draw),
        "outliers": _outliers(stages[0], measured[~measured.sha256.isin(again)], share, draw),
        "view": {"tiles": view, "failures": facts["failures"]},
        "machine": {k: v for k, v in facts.items() if k not in ("histograms", "failures")}
        | {"duplicates": {**facts["duplicates"], "groups": facts["duplicates"]["groups"][:1000]}},
    }
    there = {"compare": context["pairs"], "classes": facts["classes"], "outliers": context["outliers"]}
    context["sections"] = [(k, v) for k, v in SECTIONS.items() if there.get(k, True)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imgprep"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        num="{:,}".format, size=bytes_text, share=lambda n, of: f"{100 * n / of:.1f}%" if of else "0%",
        many=lambda n, word: f"{n:,} {word}" + "s" * (n != 1),
    )  # fmt: skip
    return environment.get_template("report.html").render(context).encode("utf-8", "replace")


# Pictures ------------------------------------------------------------------------------------------------------------


class _Thumbnails:
    """Draws rows of a dataset as data: URIs, each once: a second and thinner page decodes nothing again."""

    def __init__(self) -> None:
        self._drawn: dict[tuple, str] = {}

    def __call__(self, ds: Dataset, rows: pd.DataFrame, px: int, quality: int = 60) -> list[str]:
        keys = [(ds.folder, split, row, px, quality) for split, row in zip(rows.split, rows.row, strict=True)]
        for split in ds.splits:
            missing = sorted({k[2] for k in keys if k[1] == split and k not in self._drawn})
            for some in (missing[i : i + 16] for i in range(0, len(missing), 16)):  # originals may be large
                for row, data in zip(some, ds.pictures(split, some), strict=True):
                    self._drawn[ds.folder, split, row, px, quality] = thumbnail(data, px, quality=quality)
        return [self._drawn[k] for k in keys]


def _gallery(shown: pd.DataFrame, label: str, splits: list[str], most: int) -> list[dict]:
    """Which rows to show: of the twelve commonest labels as many of every split, evenly spread."""
    sizes = shown.label.value_counts()
    labels = sorted(sizes.index, key=lambda v: (-sizes[v], v))[:12]
    each = min(6 if label else 24, -(-most // max(1, len(labels) * len(splits))))
    groups = []
    for word in labels:
        parts = [shown[(shown.label == word) & (shown.split == s)] for s in splits]
        title = (caption(word, 60) or f"no {label}") if label else "all"
        rows = pd.concat([part.iloc[spread(len(part), each)] for part in parts])
        groups.append({"name": title, "size": int(sizes[word]), "rows": rows})
    return groups


def _with_origin(chosen: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows with the columns of the row of the first stage that each was made from, as `…_before`."""
    origin = first[(first.status == "ok") & first.image_id.isin(chosen.image_id)]
    return chosen.merge(origin, how="left", on=["split", "image_id"], suffixes=("", "_before"))


def _size(row: Any, suffix: str = "") -> str:
    width, height, kind, nbytes = (getattr(row, c + suffix) for c in ("width", "height", "format", "nbytes"))
    return f"{width:,.0f} × {height:,.0f} · {kind} · {bytes_text(nbytes)}"


def _befores(stages: list[Dataset], chosen: pd.DataFrame, draw: _Thumbnails, quality: int = 60) -> dict[int, str]:
    made = chosen[chosen.row_before.notna()]
    uris = draw(stages[0], made.assign(row=made.row_before.astype(int)), 400, quality)
    return dict(zip(made.index, uris, strict=True))


def _tiles(stages: list[Dataset], chosen: pd.DataFrame, draw: _Thumbnails) -> tuple[list[dict], list[dict]]:
    """What the gallery shows of each chosen row, and what the page's script needs to show it large."""
    large = chosen[chosen[["width", "height"]].max(axis=1) > 160]
    larges = dict(zip(large.index, draw(stages[-1], large, 400), strict=True))
    befores, tiles, view = _befores(stages, chosen, draw), [], []
    for row, uri in zip(chosen.itertuples(), draw(stages[-1], chosen, 160), strict=True):
        words = [row.label, row.split, row.image_id]
        alt, source = caption(", ".join(filter(None, words)), 90), caption(row.source, 120)
        tiles.append({"uri": uri, "alt": alt, "split": row.split, "order": row.Index})
        before = befores.get(row.Index, "")
        view.append(
            {"alt": alt, "caption": " · ".join(filter(None, [*(caption(w, 60) for w in words), source])),
             "before": before, "before_text": f"{name(stages[0])} · {_size(row, '_before')}" if before else "",
             "large": larges.get(row.Index, ""), "text": f"{name(stages[-1])} · {_size(row)}"}
        )  # fmt: skip
    return tiles, view


def _pairs(stages: list[Dataset], chosen: pd.DataFrame, n: int, draw: _Thumbnails) -> list[dict]:
    """Up to n pictures before the first and after the last stage."""
    made = chosen[chosen.row_before.notna()]
    made = made.iloc[spread(len(made), n)]
    before, after = _befores(stages, made, draw, 85).values(), draw(stages[-1], made, 400, 85)
    return [
        {"before": b, "after": a, "ratio": f"{r.width}/{r.height}", "alt": caption(f"{r.split} {r.image_id}", 90),
         "before_text": _size(r, "_before").split(" · ", 1), "after_text": _size(r).split(" · ", 1)}
        for r, b, a in zip(made.itertuples(), before, after, strict=True) if a and b
    ]  # fmt: skip


def _clusters(ds: Dataset, first: pd.DataFrame, groups: list[dict], most: int, draw: _Thumbnails) -> list[dict]:
    """At most so many groups of each kind, in their order, with up to twelve members and the first two pictures."""
    kinds: Counter = Counter()
    shown = []
    for group in groups:
        kinds[group["exact"], group["leak"]] += 1
        if kinds[group["exact"], group["leak"]] <= most:
            shown.append((group, first[(first.status == "ok") & first.sha256.isin(group["shas"])]))
    pairs = pd.concat([first[:0], *(rows.drop_duplicates("sha256").head(2) for _, rows in shown)])
    pairs = pairs[~pairs.index.duplicated()]
    uris = dict(zip(pairs.index, draw(ds, pairs, 160), strict=True))
    clusters = []
    for group, rows in shown:
        members = [
            {"split": r.split, "image_id": caption(r.image_id, 60), "label": caption(r.label, 60),
             "source": caption(r.source, 90)} for r in rows.head(12).itertuples()
        ]  # fmt: skip
        pictures = [uris[i] for i in rows.drop_duplicates("sha256").head(2).index]
        clusters.append({**group, "members": members, "pictures": pictures, "sources": int(rows.source.nunique())})
    return clusters


def _outliers(ds: Dataset, measured: pd.DataFrame, share: float, draw: _Thumbnails) -> list[dict]:
    """The ends of the scales: six pictures of each at most, and never more than a tenth of all."""
    n, kinds = min(round(6 * share), -(-len(measured) // 10)), []
    for title, column, unit, text, upper in OUTLIERS if n else []:
        rows = measured.sort_values(column, ascending=not upper, kind="stable").head(n)
        tiles = [
            {"uri": uri, "value": text.format(getattr(r, column)), "alt": caption(f"{r.split} {r.image_id}", 90)}
            for uri, r in zip(draw(ds, rows, 160), rows.itertuples(), strict=True)
        ]
        kinds.append({"name": title, "unit": unit, "tiles": tiles})
    return kinds
