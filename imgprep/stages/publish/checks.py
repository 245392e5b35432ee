"""What is looked at before a dataset is shown to others: features, counts, secrets, paths, places,
look-alikes.

Files are read a row group at a time; what was found in one is remembered with its hash, so it is
read once.
"""

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.picture import similar
from imgprep.picture.location import without_gps
from imgprep.stages.publish.patterns import SCANNED_FOR, suspicious
from imgprep.stages.publish.shards import LOCAL, PICTURES, data_files, groups, remembered
from imgprep.words import number_of

COMPARED = 20_000  # pictures whose looks are compared, evenly placed: a minute on two cores
GROUPS_NAMED = 3  # groups of look-alikes
ELSEWHERE = "its pictures are elsewhere: publish the dataset folder from which they were uploaded"
Looked = tuple[int, str, str]  # hash, image_id, split


@dataclass
class Findings:
    """problems: why it may not be published, one sentence each. notes: what is good to know. dirty:
    files that must be written anew. root: what absolute paths begin with. gps: pictures that say
    where they were taken."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dirty: set[str] = field(default_factory=set)
    root: str = ""
    gps: int = 0
    duplicates: dict[str, Any] = field(default_factory=dict)


@dataclass
class Hits:
    """How many rows hold something that is not for everyone, and the first of them."""

    rows: int = 0
    example: str = ""


def examine(
    ds: Dataset,
    *,
    allow_gps: bool,
    drop_columns: tuple[str, ...],
) -> Findings:
    """Read every file of a dataset folder and say what stands in the way of publishing it."""
    folder = Folder(ds.folder)
    found = Findings()
    files = data_files(ds)
    first = [f for f in files if f["config"] == ds.configs[0]]
    stride = _stride(first)
    schemas: dict[str, pa.Schema] = {}
    hits: dict[tuple[str, str], Hits] = defaultdict(Hits)
    looks: list[Looked] = []
    roots: list[str] = []
    held = 0
    for file in files:
        if trouble := _trouble(folder, file, schemas):
            found.problems.append(trouble)
            continue
        # Only of the first config: its sizes and failures show the same pictures again.
        seen = _remembered_scan(folder, file, stride if file in first else 0)
        _count(seen["cells"], drop_columns, hits)
        if seen["gps"] and not allow_gps:
            found.dirty.add(file["file"])
        if seen["root"]:  # also where `source` is left out: `error` has it
            found.dirty.add(file["file"])
            roots.append(seen["root"])
        found.gps += seen["gps"]
        held += seen["held"]
        looks += [(look, name, file["split"]) for look, name in seen["looks"]]
    found.problems += [_problem(what, column, hit) for (what, column), hit in hits.items()]
    if not held and not found.problems:
        found.problems.append(ELSEWHERE)
    found.root = _up_to_slash(os.path.commonprefix(roots)) if roots else ""
    if not found.problems:
        found.duplicates, notes = _duplicates(folder, first, looks)
        found.notes += notes
    return found


def _stride(files: list[dict]) -> int:
    """Each how manieth picture's looks are compared; 0 where there is one split."""
    # With one split nothing can leak, and to decode for nothing takes a minute.
    if len({f["split"] for f in files}) < 2:
        return 0
    return -(-sum(f["rows"] for f in files) // COMPARED)


def _count(
    cells: list[list], drop_columns: tuple[str, ...], hits: dict[tuple[str, str], Hits]
) -> None:
    for what, column, rows, example in cells:
        if column not in drop_columns:
            hit = hits[what, column]
            hit.rows += rows
            hit.example = hit.example or example


def _problem(
    what: str,
    column: str,
    hit: Hits,
) -> str:
    leave = f"leave the column out with drop_columns=[{column!r}]"
    fix = f"take them out and run the stage again, or {leave}"
    return f"{column!r} holds {what} in {number_of(hit.rows, 'row')}, the first is {hit.example!r}: {fix}"


def _trouble(
    folder: Folder,
    file: dict,
    schemas: dict[str, pa.Schema],
) -> str:
    """Why a file is not what the manifest says, or has other features than its config; "" when it
    is right."""
    name = file["file"]
    # By the manifest and not by the hash: what is sent is hashed anyway, and compared then.
    if folder.size(name) != file["bytes"]:
        return f"{name} is not as it was written: run the stage again, which makes it anew"
    meta = pq.read_metadata(folder.open(name))
    if meta.num_rows != file["rows"]:
        told = f"{name} has {number_of(meta.num_rows, 'row')} and the manifest says {file['rows']:,}"
        return f"{told}: run the stage again"
    schema = meta.schema.to_arrow_schema()
    wanted = schemas.setdefault(file["config"], schema)
    has_features = b"huggingface" in (schema.metadata or {})
    if not has_features or not schema.equals(wanted, check_metadata=True):
        told = f"{name} does not carry the features of config {file['config']!r}"
        return f"{told}: run the stage again"
    return ""


def _remembered_scan(
    folder: Folder,
    file: dict,
    every: int,
) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        return Scan(every).of(folder, file["file"])

    # The file's own hash is in it, so an edited file is read
    # again; and the patterns, so new ones are looked for.
    return remembered(folder, ["scan", file["sha256"], every, SCANNED_FOR], make)


class Scan:
    """What stands in one file. every: the looks of each such row are measured, 0 for none."""

    def __init__(self, every: int):
        self.every = every
        self.cells: dict[tuple[str, str], Hits] = defaultdict(Hits)
        self.looks: list[list] = []
        self.prefixes: list[str] = []
        self.gps = self.held = self.rows = 0

    def of(self, folder: Folder, file: str) -> dict[str, Any]:
        """As JSON can hold it."""
        for table in groups(folder, file):
            self._group(table)
        cells = [[*key, hit.rows, hit.example] for key, hit in self.cells.items()]
        root = _up_to_slash(os.path.commonprefix(self.prefixes)) if self.prefixes else ""
        return {
            "gps": self.gps,
            "held": self.held,
            "root": root,
            "looks": self.looks,
            "cells": cells,
        }

    def _group(self, table: pa.Table) -> None:
        ids = table["image_id"].to_pylist()
        self._add_prefixes(table["source"])
        for what, column, rows in suspicious(table):
            hit = self.cells[what, column]
            if not hit.rows:
                # In a list the number is that of an item, and no row may have it.
                hit.example = ids[rows[0]] if rows[0] < len(ids) else ""
            hit.rows += len(rows)
        for name in PICTURES:
            if name in table.column_names:
                self._add_pictures(table[name].combine_chunks(), name, ids)
        self.rows += table.num_rows

    def _add_prefixes(self, sources: pa.ChunkedArray) -> None:
        is_local = pc.fill_null(pc.match_substring_regex(sources, LOCAL), False)
        local = pc.replace_substring_regex(sources.filter(is_local), LOCAL, "/")
        # The common prefix of all so far: a million paths are not held.
        prefixes = [*self.prefixes, *local.to_pylist()]
        self.prefixes = [os.path.commonprefix(prefixes)] if prefixes else []

    def _add_pictures(
        self,
        column: pa.Array,
        name: str,
        ids: list[str],
    ) -> None:
        for i, value in enumerate(column.field("bytes") if name == "image" else column):
            data = value.as_py()
            if data is None:
                continue
            self.held += 1
            # without_gps gives the bytes themselves back where there is no place in them.
            self.gps += without_gps(data) is not data
            is_compared = self.every and (self.rows + i) % self.every == 0
            if is_compared and name == "image":
                self.looks.append([similar.look(data), ids[i]])


def _up_to_slash(text: str) -> str:
    return text[: text.rfind("/") + 1]


def _duplicates(
    folder: Folder, files: list[dict], looks: list[Looked]
) -> tuple[dict[str, Any], list[str]]:
    """How many pictures stand there more than once, and in more than one split; notes. 8 bytes of
    memory per row."""
    shas, splits = _hashes(folder, files)
    # Sorted by hash, equal pictures stand side by side:
    # 8 bytes a row instead of a table of strings.
    order = np.lexsort((splits, shas))
    shas, splits = shas[order], splits[order]
    same = shas[1:] == shas[:-1]
    leaks = same & (splits[1:] != splits[:-1])
    alike = []
    # mirrored: a flipped copy in the test set is a leak as well.
    for group in similar.near([look for look, *_ in looks], mirrored=True):
        if len({looks[i][2] for i in group}) > 1:
            alike.append(group)
    counts = {
        "equal": int(same.sum()),
        "leaks": int(leaks.sum()),
        "compared": len(looks),
        "alike": len(alike),
    }
    return counts, _leaks(counts, alike, looks)


def _hashes(folder: Folder, files: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """The first 8 bytes of each row's sha256, and the number of its split."""
    names = sorted({f["split"] for f in files})
    shas = [np.empty(0, np.uint64)]
    splits = [np.empty(0, np.uint8)]
    for file in files:
        number = names.index(file["split"])
        for table in groups(folder, file["file"], ["sha256"]):
            heads = [int(sha[:16], 16) for sha in table["sha256"].to_pylist()]
            shas.append(np.array(heads, np.uint64))
            splits.append(np.full(table.num_rows, number, np.uint8))
    return np.concatenate(shas), np.concatenate(splits)


def _leaks(
    counts: dict[str, int],
    alike: list,
    looks: list[Looked],
) -> list[str]:
    notes = []
    if counts["leaks"]:
        told = "pictures that stand in more than one split, byte for byte"
        notes.append(f"{told}: {counts['leaks']:,}")
    if alike:
        named = []
        for group in alike[:GROUPS_NAMED]:
            one_of = {looks[i][2]: looks[i][1] for i in group}
            named.append(" and ".join(f"{name} ({split})" for split, name in one_of.items()))
        told = f"groups that look alike across splits, of {counts['compared']:,}"
        groups_of = f"{len(alike):,}: {'; '.join(named)}"
        notes.append(f"{told}: {groups_of}; `splits.split` keeps such together")
    return notes


def check_loaded(found: dict[str, Any], files: list[dict]) -> str:
    """Why what `loaded.load_back` found is not these files; "" when it is."""
    rows: Counter = Counter()
    for file in files:
        rows[file["config"], file["split"]] += file["rows"]
    seen = {}
    for config, splits in found.items():
        for split, counts in splits.items():
            seen[config, split] = counts
    if set(seen) != set(rows):
        theirs = sorted(map("/".join, seen))
        ours = sorted(map("/".join, rows))
        return f"`datasets` finds {theirs}, the card has {ours}"
    for (config, split), counts in seen.items():
        wanted = rows[config, split]
        if {counts["streamed"], counts["loaded"]} - {wanted, None}:
            return f"{config}/{split} has {number_of(wanted, 'row')} and `datasets` loads {counts}"
    return ""
