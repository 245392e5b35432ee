"""What is looked at before a dataset is shown to others: features, counts, secrets, paths, places, look-alikes.

Files are read a row group at a time; what was found in one is remembered with its hash, so it is read once.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.io.web.addresses import SIGNED
from imgprep.picture import similar
from imgprep.picture.location import without_gps
from imgprep.stages.publish.shards import LOCAL, PICTURES, groups, remembered

COMPARED = 20_000  # pictures whose looks are compared, evenly placed: a minute on two cores
SECRET = (  # of Hugging Face, AWS, GitHub, GitLab, OpenAI, Stripe, Slack, Google, Azure; private keys; JSON web tokens
    r"\bhf_[A-Za-z0-9]{30,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\b[rs]k_live_\w{20}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}|AccountKey=[A-Za-z0-9+/=]{40,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
)
ROOTS = "home|Users|root|mnt|media|tmp|var|data|opt|srv|private|Volumes|workspace|scratch|content|kaggle|dbfs"
PATTERNS = {
    "secrets": SECRET,
    "signed URLs": rf"(?i){SIGNED.pattern}[^*&\s]|://[^/\s:@]+:[^/\s@]+@",
    "paths of a machine": rf"(?:^|[\s'\"(=])(?:file://)?(?:/(?:{ROOTS})/[^/\s]+|[A-Za-z]:\\\w)",
}


@dataclass
class Findings:
    """problems: why it may not be published, one sentence each. notes: what is good to know. dirty: files that must be
    written anew. root: what absolute paths begin with. gps: pictures that say where they were taken."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dirty: set[str] = field(default_factory=set)
    root: str = ""
    gps: int = 0
    duplicates: dict[str, Any] = field(default_factory=dict)


def examine(ds: Dataset, *, allow_gps: bool, drop_columns: tuple[str, ...]) -> Findings:
    """Read every file of a dataset folder and say what stands in the way of publishing it."""
    folder, found = Folder(ds.folder), Findings()
    files = [f for f in ds.files if f["config"] != "index" and f["rows"]]
    first = [f for f in files if f["config"] == ds.configs[0]]
    stride = -(-sum(f["rows"] for f in first) // COMPARED) if len({f["split"] for f in first}) > 1 else 0
    schemas: dict[str, pa.Schema] = {}
    cells: dict[tuple[str, str], list] = defaultdict(lambda: [0, ""])
    looks, roots, held = [], [], 0
    for file in files:
        if trouble := _trouble(folder, file, schemas):
            found.problems.append(trouble)
            continue
        every = stride if file in first else 0
        one = remembered(folder, ["scan", file["sha256"], every, PATTERNS], lambda f=file, e=every: _scan(folder, f, e))
        for what, column, count, example in one["cells"]:
            if column not in drop_columns:
                cells[what, column][0] += count
                cells[what, column][1] = cells[what, column][1] or example
        if one["gps"] and not allow_gps:
            found.dirty.add(file["file"])
        if one["root"]:  # also where `source` is left out: `error` has it
            found.dirty.add(file["file"])
            roots.append(one["root"])
        found.gps += one["gps"]
        held += one["held"]
        looks += [(h, name, file["split"]) for h, name in one["looks"]]
    for (what, column), (count, example) in cells.items():
        fix = f"take them out and run the stage again, or leave the column out with drop_columns=[{column!r}]"
        found.problems.append(f"{column!r} holds {what} in {count:,} rows, the first is {example!r}: {fix}")
    if not held and not found.problems:
        found.problems.append("its pictures are elsewhere: publish the dataset folder from which they were uploaded")
    found.root = _up_to_slash(os.path.commonprefix(roots)) if roots else ""
    if not found.problems:
        found.duplicates = _duplicates(folder, first, looks)
        found.notes += _leaks(found.duplicates, looks)
    return found


def _trouble(folder: Folder, file: dict, schemas: dict[str, pa.Schema]) -> str:
    """Why a file is not what the manifest says, or has other features than its config; "" when it is right."""
    name = file["file"]
    if folder.size(name) != file["bytes"]:
        return f"{name} is not as it was written: run the stage again, which makes it anew"
    meta = pq.read_metadata(folder.open(name))
    if meta.num_rows != file["rows"]:
        return f"{name} has {meta.num_rows:,} rows and the manifest says {file['rows']:,}: run the stage again"
    schema = meta.schema.to_arrow_schema()
    wanted = schemas.setdefault(file["config"], schema)
    if b"huggingface" not in (schema.metadata or {}) or not schema.equals(wanted, check_metadata=True):
        return f"{name} does not carry the features of config {file['config']!r}: run the stage again"
    return ""


def _scan(folder: Folder, file: dict, every: int) -> dict[str, Any]:
    """What stands in one file. every: the looks of each such row are measured, 0 for none."""
    cells: dict[tuple[str, str], list] = {}
    gps, held, at, prefixes, looks = 0, 0, 0, [], []
    for table in groups(folder, file["file"]):
        ids = table["image_id"].to_pylist()
        local = table["source"].filter(pc.fill_null(pc.match_substring_regex(table["source"], LOCAL), False))
        prefixes += pc.replace_substring_regex(local, LOCAL, "/").to_pylist()
        prefixes = [os.path.commonprefix(prefixes)] if prefixes else []
        for what, column, rows in _suspicious(table):
            entry = cells.setdefault((what, column), [0, ids[rows[0]] if rows[0] < len(ids) else ""])
            entry[0] += len(rows)
        for name in set(PICTURES) & set(table.column_names):
            column = table[name].combine_chunks()
            for i, value in enumerate(column.field("bytes") if name == "image" else column):
                if (data := value.as_py()) is None:
                    continue
                held += 1
                gps += without_gps(data) is not data
                if every and name == "image" and (at + i) % every == 0:
                    looks.append([similar.look(data), ids[i]])
        at += table.num_rows
    root = _up_to_slash(os.path.commonprefix(prefixes)) if prefixes else ""
    found = [[*key, *value] for key, value in cells.items()]
    return {"gps": gps, "held": held, "root": root, "looks": looks, "cells": found}


def _suspicious(table: pa.Table) -> Iterator[tuple[str, str, list[int]]]:
    """(what, column, rows) of text that is not for everyone; in lists the numbers are those of their items."""
    for name in table.column_names:
        for text in _texts(table[name]):
            for what, pattern in PATTERNS.items():
                rows = np.flatnonzero(pc.fill_null(pc.match_substring_regex(text, pattern), False)).tolist()
                if what == "paths of a machine" and name in ("source", "error"):
                    rows = [i for i in rows if not _is_own(table, name, i)]
                if rows:
                    yield what, name, rows


def _is_own(table: pa.Table, name: str, row: int) -> bool:
    """Whether a path is that of the row's source, which is cut short when it is published."""
    source, error = table["source"][row].as_py() or "", table["error"][row].as_py() or ""
    is_left = name == "error" and re.search(PATTERNS["paths of a machine"], error.replace(source, ""))
    return bool(re.match(LOCAL, source)) and not is_left


def _texts(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    """The arrays of text in a column, however deep."""
    array = column.combine_chunks()
    waiting = [array.chunk(0) if isinstance(array, pa.ChunkedArray) else array]
    while waiting:
        array = waiting.pop()
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            yield array
        elif pa.types.is_nested(array.type):
            inside = array.flatten()
            waiting += inside if isinstance(inside, list) else [inside]


def _up_to_slash(text: str) -> str:
    return text[: text.rfind("/") + 1]


def _duplicates(folder: Folder, files: list[dict], looks: list[tuple]) -> dict[str, Any]:
    """How many pictures stand there more than once, and in more than one split. 8 bytes of memory per row."""
    splits = sorted({f["split"] for f in files})
    shas, where = [np.empty(0, np.uint64)], [np.empty(0, np.uint8)]
    for file in files:
        for table in groups(folder, file["file"], ["sha256"]):
            shas.append(np.array([int(sha[:16], 16) for sha in table["sha256"].to_pylist()], np.uint64))
            where.append(np.full(table.num_rows, splits.index(file["split"]), np.uint8))
    values, which = np.concatenate(shas), np.concatenate(where)
    order = np.lexsort((which, values))
    same = values[order][1:] == values[order][:-1]
    leaks = same & (which[order][1:] != which[order][:-1])
    alike = [g for g in similar.near([h for h, *_ in looks]) if len({looks[i][2] for i in g}) > 1]
    return {"equal": int(same.sum()), "leaks": int(leaks.sum()), "compared": len(looks), "alike": alike}


def _leaks(duplicates: dict[str, Any], looks: list[tuple]) -> list[str]:
    notes = []
    if duplicates["leaks"]:
        notes.append(f"pictures that stand in more than one split, byte for byte: {duplicates['leaks']:,}")
    if duplicates["alike"]:
        groups_of = [{looks[i][2]: looks[i][1] for i in group} for group in duplicates["alike"][:3]]
        pairs = [" and ".join(f"{name} ({split})" for split, name in one.items()) for one in groups_of]
        more = f"groups that look alike across splits, of {duplicates['compared']:,}: {len(duplicates['alike']):,}"
        notes.append(f"{more}: {'; '.join(pairs)}; `splits.split` keeps such together")
    duplicates["alike"] = len(duplicates["alike"])
    return notes


def check_loaded(found: dict[str, Any], files: list[dict]) -> str:
    """Why what `loaded.load_back` found is not these files; "" when it is."""
    rows: Counter = Counter()
    for f in files:
        rows[f["config"], f["split"]] += f["rows"]
    seen = {(c, s): n for c, splits in found.items() for s, n in splits.items()}
    if set(seen) != set(rows):
        return f"`datasets` finds {sorted(map('/'.join, seen))}, the card has {sorted(map('/'.join, rows))}"
    for (config, split), n in seen.items():
        if {n["streamed"], n["loaded"]} - {rows[config, split], None}:
            return f"{config}/{split} has {rows[config, split]:,} rows and `datasets` loads {n}"
    return ""
