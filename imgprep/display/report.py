"""The report: one HTML file that says what a pipeline made, shows it, and says how to make it
again.

The page needs no network and no other file. What it says is worked out in findings.py and
likeness.py, its pictures in report_pictures.py; how it looks is in templates/.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.display import charts, columns, findings, likeness, report_pictures
from imgprep.display.found import counted_objects
from imgprep.display.pages import check_page_place, page_environment
from imgprep.display.pictures import every_row, label_column, public_text
from imgprep.project import made_with, project_root
from imgprep.redaction import redact_values
from imgprep.words import bytes_text

GOAL_BYTES = 5 << 20  # opens at once and passes a mail gateway
PICTURE_SHARES = (1, 0.5, 0.25, 0.1, 0)  # of the pictures shown, until the page is small enough
MACHINE_GROUPS = 1000  # groups of duplicates in the facts for programs
MASKS_LISTED = 50
LABELS_LISTED = 50


def write(
    path: str | Path,
    datasets: Sequence[Dataset | str | Path],
    *,
    title: str,
    parameters: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
    command: str = "",
    steps: Sequence[dict[str, Any]] = (),
    min_score: float = 0.0,
) -> Path:
    """Write the report of a pipeline's datasets, and return its path.

    datasets: in the order they were made.

    parameters and defaults: what the run was given, and what it would have been. command: the line
    that makes it again. steps: one {"notebook", "seconds", "status"} per notebook. min_score:
    boxes with a lower score are not drawn and not counted. The same datasets give the same page,
    except for what it says on time. ValueError: no dataset, or a folder that is none.
    """
    if not datasets:
        raise ValueError("a report needs at least one dataset")
    path = Path(path)
    check_page_place(path)
    stages = [ds if isinstance(ds, Dataset) else dataset.open(str(ds)) for ds in datasets]
    seen = report_pictures.ReportRows.of(stages, label_column(every_row(stages[-1])[0]))
    facts = _page_facts(seen, min_score)
    facts |= {"title": public_text(title), "command": public_text(command)}
    facts["time"] = findings.time(stages, steps)
    facts |= _provenance(stages, parameters or {}, defaults or {})
    groups = facts["duplicates"]["groups"]
    # The page counts all groups; the JSON in it, for programs, lists the first of them only:
    # of a million rows their hashes would be most of the page.
    machine = {**facts, "duplicates": {**facts["duplicates"], "groups": groups[:MACHINE_GROUPS]}}
    tables = _page_tables(facts)
    template = _report_template()
    # The number of pictures is tried, as nobody knows before how well they pack.
    for share in PICTURE_SHARES:
        pictures = report_pictures.drawn(seen, groups, facts["variants"], share, min_score)
        page = template.render(**facts, **pictures, tables=tables, machine=machine)
        data = page.encode("utf-8", "replace")
        if len(data) <= GOAL_BYTES:
            break
    Folder(path.parent).put(path.name, data)
    return path


def _page_facts(seen: report_pictures.ReportRows, min_score: float) -> dict[str, Any]:
    """What the datasets say, in the words and numbers of the page."""
    stages = seen.stages
    ok = seen.ok
    splits = seen.splits
    masks = [mask for stage in stages for mask in findings.masks(stage)]
    # The pictures of a mask are overviews that we made: their format says nothing.
    is_overview = findings.is_masks(stages[0].table(stages[0].splits[0]))
    classes = findings.tally(ok.label, ok.split, splits) if seen.label else []
    return {
        "splits": [{"name": split, "rows": int((ok.split == split).sum())} for split in splits],
        **findings.stage_outcome(stages, seen.last),
        "label": seen.label or "",
        "classes": classes,
        "is_overview": is_overview,
        "formats": [] if is_overview else findings.tally(ok.format, ok.split, splits),
        "histograms": charts.of_sizes(ok, splits, has_files=not is_overview),
        "duplicates": likeness.duplicates(ok, seen.measured),
        "variants": findings.variant_sizes(stages[-1]),
        "objects": counted_objects(stages[-1], min_score=min_score),
        "min_score": min_score,
        "masks": masks,
        "masks_in_words": findings.masks_in_words(masks),
        "published": findings.published(stages),
    }


def _page_tables(facts: dict[str, Any]) -> dict[str, Any]:
    """The tables of the page, whose columns columns.py lists."""
    return {
        "sizes": columns.filled_table(columns.SIZE_COLUMNS, facts["variants"]),
        "objects": columns.filled_table(columns.OBJECT_COLUMNS, facts["objects"][:LABELS_LISTED]),
        "masks": columns.filled_table(columns.MASK_COLUMNS, facts["masks"][:MASKS_LISTED]),
        "runs": columns.filled_table(columns.RUN_COLUMNS, facts["time"]["runs"]),
        "notebooks": columns.filled_table(columns.NOTEBOOK_COLUMNS, facts["time"]["notebooks"]),
    }


def _provenance(
    stages: list[Dataset], parameters: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    """Parameters (what differs from its default marked), versions, commit, and sha256 of the files
    that went in.
    """
    shown = []
    inputs = {}
    # A value is a secret where its name says so, whatever it looks like.
    masked = redact_values(parameters)
    masked_defaults = redact_values(defaults)
    for key, value in parameters.items():
        changed = key in defaults and defaults[key] != value
        default = public_text(masked_defaults.get(key))
        said = public_text(masked[key])
        shown.append({"name": key, "value": said, "changed": changed, "default": default})
        file = os.path.join(project_root(), value) if isinstance(value, str) else ""
        # Not Path.is_file: that raises for a text longer than a file's name can be.
        if os.path.isfile(file):
            with open(file, "rb") as stream:
                inputs[public_text(value)] = hashlib.file_digest(stream, "sha256").hexdigest()
    made = []
    for ds in stages:
        facts = {key: ds.info[key] for key in ("stage", "operation", "complete")}
        made.append({"name": findings.dataset_name(ds), **facts})
    return {"parameters": shown, "inputs": inputs, **made_with(), "stages": made}


def _report_template() -> jinja2.Template:
    environment = page_environment()
    environment.globals["svg"] = charts.svg
    environment.filters.update(num="{:,}".format, size=bytes_text, share=_share, many=_many)
    template: jinja2.Template = environment.get_template("report.html")
    return template


def _share(n: float, of: float) -> str:
    return f"{n / max(of, 1):.1%}"


def _many(n: int, word: str) -> str:
    if n != 1:
        word += "s"
    return f"{n:,} {word}"
