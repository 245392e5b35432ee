"""What a card says of a dataset in numbers, counted over all rows without a picture being read."""

import re
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Features

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.display.pictures import USUAL_LABELS, meaning, public
from imgprep.stages.publish.checks import Findings
from imgprep.stages.publish.shards import Rules, groups
from imgprep.words import bytes_text

SHOWN = 20  # classes and hosts that are listed
OPTED_OUT = ("opted_out", "robots")
LICENCE = re.compile(r"licen[cs]e\w*|rights", re.I)


def count(
    ds: Dataset, files: list[dict], schemas: dict[str, pa.Schema], rules: Rules, found: Findings
) -> dict[str, Any]:
    """The facts that templates/card.md shows. files: those to publish; their config `metadata` is what is read."""
    folder, first = Folder(ds.folder), next(iter(schemas))
    schema = schemas["metadata"]
    label = rules.class_column or next((n for n in USUAL_LABELS if n in schema.names), None)
    classes: dict[str, Counter] = {s: Counter() for s in ds.splits}
    hosts, formats, sizes = Counter(), Counter(), {"width": [], "height": [], "nbytes": []}
    names = ["status", "source", "format", *sizes, *([label] if label else [])]
    for file in [f for f in files if f["config"] == "metadata"]:
        for table in groups(folder, file["at"], [n for n in names if n in schema.names]):
            if "source" in schema.names:
                hosts.update(map(_host, table["source"].to_pylist()))
            ok = table.filter(pc.equal(table["status"], "ok"))
            formats.update(ok["format"].to_pylist())
            for name, values in sizes.items():
                values.append(ok[name].to_numpy().astype(np.int64))
            if label:
                counts = ok[label].value_counts()
                classes[file["split"]].update(dict(zip(counts.field("values").to_pylist(),
                                                       counts.field("counts").to_pylist(), strict=True)))  # fmt: skip
    counts = ds.counts()
    return {
        "pictures": sum(f["rows"] for f in files if f["config"] == first),
        "bytes": bytes_text(sum(f["bytes"] for f in files)),
        "label": label,
        "class_count": len(getattr(Features.from_arrow_schema(schema).get(label), "names", ())),
        "classes": _classes(schema, label, classes, ds.splits) if label else {},
        "sizes": [_spread(n, np.concatenate(v)) for n, v in sizes.items() if v and sum(map(len, v))],
        "formats": dict(formats.most_common()),
        "reasons": [(word, n, meaning(word)) for word, n in counts["reasons"].items()],
        "opted_out": sum(counts["reasons"].get(word, 0) for word in OPTED_OUT),
        "hosts": hosts.most_common(SHOWN),
        "licence_column": next((n for n in schema.names if LICENCE.fullmatch(n)), None),
        "duplicates": found.duplicates,
        "gps": found.gps,
        "keep_gps": rules.keep_gps,
        "placeholders": counts["placeholder"] if rules.keep_placeholders else 0,
        "steps": _public([*ds.info.get("earlier", []), {k: ds.info[k] for k in ("stage", "options")}]),
        "made": next((run["made_with"] for run in reversed(ds.runs()) if run.get("made_with")), {}),
    }


def _public(value: Any) -> Any:
    """The options of a stage without what is nobody's business: passwords, and where this machine keeps its files."""
    if isinstance(value, dict):
        return {k: _public(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_public(v) for v in value]
    return public(value) if isinstance(value, str) else value


def _host(source: str | None) -> str:
    if not source:
        return "not recorded"
    parts = urlsplit(source) if re.match(r"\w[\w+.-]*://", source) else None
    return (parts.hostname or parts.scheme) if parts else "files"


def _classes(schema: pa.Schema, label: str, counts: dict[str, Counter], splits: list[str]) -> dict[str, Any]:
    """{"splits", "lines": [(class, rows per split)], "more": how many classes are not listed}, the commonest first."""
    kind = Features.from_arrow_schema(schema)[label]
    total = sum(counts.values(), Counter())
    if not 2 <= len(total) <= 1000:
        return {}
    words = {v: kind.int2str(v) if isinstance(kind, ClassLabel) and v is not None and v >= 0 else v for v in total}
    shown = sorted(total, key=lambda v: (-total[v], str(words[v])))
    lines = [("(none)" if words[v] is None else words[v], [counts[s][v] for s in splits]) for v in shown[:SHOWN]]
    return {"splits": splits, "lines": lines, "more": len(shown) - len(lines)}


def _spread(name: str, values: np.ndarray) -> tuple[str, str, str, str]:
    """(what, least, median, most)"""
    text = bytes_text if name == "nbytes" else "{:,.0f} px".format
    return ("file size" if name == "nbytes" else name, *(text(float(v)) for v in np.percentile(values, [0, 50, 100])))
