"""What a card says of a dataset in numbers, counted over all rows without a picture being read."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Features

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.display.pictures import USUAL_LABELS, meaning, public_text
from imgprep.stages.publish.checks import Findings
from imgprep.stages.publish.rewriting import Rules
from imgprep.stages.publish.shards import groups
from imgprep.words import bytes_text

LISTED = 20  # classes and hosts that are listed
MOST_CLASSES = 1000  # a column with more values is no column of classes
OPTED_OUT = ("opted_out", "robots")
MEASURED = ("width", "height", "nbytes")
LICENCE = re.compile(r"licen[cs]e\w*|rights", re.I)


@dataclass
class Tally:
    """Counts over the rows. label: the column of classes, if there is one."""

    label: str | None
    hosts: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    sizes: dict[str, list[np.ndarray]] = field(default_factory=lambda: {n: [] for n in MEASURED})
    classes: dict[str, Counter] = field(default_factory=dict)  # of each split

    def columns(self, schema: pa.Schema) -> list[str]:
        """What of the rows has to be read."""
        wanted = {"status", "source", "format", *MEASURED, self.label}
        return [name for name in schema.names if name in wanted]

    def add(self, table: pa.Table, split: str) -> None:
        if "source" in table.column_names:
            self.hosts.update(map(_host, table["source"].to_pylist()))
        ok = table.filter(pc.equal(table["status"], "ok"))
        self.formats.update(ok["format"].to_pylist())
        for name, values in self.sizes.items():
            values.append(ok[name].to_numpy().astype(np.int64))
        if self.label:
            counts = ok[self.label].value_counts()
            for one in counts.to_pylist():
                self.classes[split][one["values"]] += one["counts"]

    def spreads(self) -> list[tuple[str, str, str, str]]:
        """What the sizes of ok pictures are; [] where there is none."""
        found = []
        for name, parts in self.sizes.items():
            values = np.concatenate([np.empty(0, np.int64), *parts])
            if len(values):
                found.append(_spread_fact(name, values))
        return found


def count_facts(
    ds: Dataset, files: list[dict], schemas: dict[str, pa.Schema], rules: Rules, found: Findings
) -> dict[str, Any]:
    """The facts that templates/card.md shows. files: those to publish; their config `metadata` is
    what is read."""
    folder = Folder(ds.folder)
    first = next(iter(schemas))
    schema = schemas["metadata"]
    label = rules.class_column or next((n for n in USUAL_LABELS if n in schema.names), None)
    tally = Tally(label, classes={split: Counter() for split in ds.splits})
    for file in files:
        if file["config"] == "metadata":
            for table in groups(folder, file["at"], tally.columns(schema)):
                tally.add(table, file["split"])
    counts = ds.counts()
    reasons = counts["reasons"]
    logs = [run["made_with"] for run in ds.runs() if run.get("made_with")]
    kind = Features.from_arrow_schema(schema).get(label)
    return {
        "pictures": sum(f["rows"] for f in files if f["config"] == first),
        "bytes": bytes_text(sum(f["bytes"] for f in files)),
        "label": label,
        "class_count": len(getattr(kind, "names", ())),
        "classes": _class_lines(kind, tally.classes, ds.splits) if label else {},
        "sizes": tally.spreads(),
        "formats": dict(tally.formats.most_common()),
        "reasons": [(word, n, meaning(word)) for word, n in reasons.items()],
        "opted_out": sum(reasons.get(word, 0) for word in OPTED_OUT),
        "hosts": tally.hosts.most_common(LISTED),
        "licence_column": next((n for n in schema.names if LICENCE.fullmatch(n)), None),
        "duplicates": found.duplicates,
        "gps": found.gps,
        "keep_gps": rules.keep_gps,
        "placeholders": counts["placeholder"] if rules.keep_placeholders else 0,
        "steps": _steps(ds),
        "made": logs[-1] if logs else {},
    }


def _steps(ds: Dataset) -> Any:
    """The stages that made it, with their options."""
    last = {key: ds.info[key] for key in ("stage", "options")}
    return _shown_fact([*ds.info.get("earlier", []), last])


def _shown_fact(value: Any) -> Any:
    """Options without what is nobody's business: passwords, and where this machine keeps its
    files."""
    if isinstance(value, dict):
        return {key: _shown_fact(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shown_fact(one) for one in value]
    return public_text(value) if isinstance(value, str) else value


def _host(source: str | None) -> str:
    if not source:
        return "not recorded"
    if not re.match(r"\w[\w+.-]*://", source):
        return "files"
    parts = urlsplit(source)
    return parts.hostname or parts.scheme


def _class_lines(
    kind: Any,
    counts: dict[str, Counter],
    splits: list[str],
) -> dict[str, Any]:
    """{"splits", "lines": [(class, rows per split)], "more": how many classes are not listed}, the
    commonest first."""
    total = sum(counts.values(), Counter())
    if not 2 <= len(total) <= MOST_CLASSES:
        return {}
    words = {value: _class_word(kind, value) for value in total}
    # By the word too: equal counts would otherwise change places between two runs.
    order = sorted(total, key=lambda value: (-total[value], str(words[value])))
    lines = []
    for value in order[:LISTED]:
        word = "(none)" if words[value] is None else words[value]
        lines.append((word, [counts[split][value] for split in splits]))
    return {"splits": splits, "lines": lines, "more": len(order) - len(lines)}


def _class_word(kind: Any, value: Any) -> Any:
    is_numbered = isinstance(kind, ClassLabel) and value is not None and value >= 0
    return kind.int2str(value) if is_numbered else value


def _spread_fact(name: str, values: np.ndarray) -> tuple[str, str, str, str]:
    """(what, least, median, most)"""
    least, median, most = (float(value) for value in np.percentile(values, [0, 50, 100]))
    if name == "nbytes":
        return "file size", bytes_text(least), bytes_text(median), bytes_text(most)
    return name, f"{least:,.0f} px", f"{median:,.0f} px", f"{most:,.0f} px"
