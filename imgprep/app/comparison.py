"""In what two dataset folders differ."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import COLUMNS, Dataset

ROW_KEY = ".key"  # of a row: no other row of the folder has it
ENDING = ".outcome"  # its reason, or ok
NOT_COMPARED = {ROW_KEY, "image_id", "sha256", ENDING}  # by value: they have sentences of their own


def differences(a: str, b: str) -> dict[str, list[str]]:
    """How dataset folder b differs from a: a sentence's beginning -> the image_ids it is true of.

    {} when equal. Rows are the same by image_id (the second of one name is compared with the
    second), pictures by sha256. "split", the user's and the stages' columns are compared by value;
    `source`, and where a row's picture stands, are not.
    """
    old = _compared(Dataset(a))
    new = _compared(Dataset(b)).sort_by("image_id")
    at = pc.index_in(new[ROW_KEY], value_set=old[ROW_KEY])
    gone = pc.invert(pc.is_in(old[ROW_KEY], value_set=new[ROW_KEY]))
    found = {
        "added": sorted(new.filter(at.is_null())["image_id"].to_pylist()),
        "removed": sorted(old.filter(gone)["image_id"].to_pylist()),
    }
    both = _Both(old.take(at.drop_null()), new.filter(at.is_valid()))
    found |= both.columns()
    found |= both.outcomes()
    return {what: ids for what, ids in found.items() if ids}


class _Both:
    """The rows that two datasets share, side by side."""

    def __init__(self, old: pa.Table, new: pa.Table):
        self.old = old
        self.new = new
        self.ids = new["image_id"].to_pylist()

    def columns(self) -> dict[str, list[str]]:
        """Columns that came or went, and those with other values."""
        before = set(self.old.column_names)
        now = set(self.new.column_names)
        found = {}
        for column in sorted(before ^ now):
            how = "added" if column in now else "removed"
            found[f"column {column!r} {how}"] = self.ids
        for column in sorted(before & now - NOT_COMPARED):
            rows = self._beside(column)
            found[f"{column.lstrip('.')} changed"] = [i for i, x, y in rows if x != y]
        return found

    def outcomes(self) -> dict[str, list[str]]:
        """Rows that went otherwise than before, and pictures that are others."""
        found: dict[str, list[str]] = {}
        moved = set()
        for number, (name, then, now) in enumerate(self._beside(ENDING)):
            if then != now:
                found.setdefault(f"outcome {then} -> {now}", []).append(name)
                moved.add(number)
        changed = []
        for number, (name, then, now) in enumerate(self._beside("sha256")):
            if then != now and number not in moved:
                changed.append(name)
        # A row that failed has no picture, and "outcome" says so already: not both.
        return {**found, "picture changed": changed}

    def _beside(self, column: str) -> list[tuple[str, Any, Any]]:
        """image_id with the value before and after."""
        before = _comparable(self.old[column].to_pylist())
        now = _comparable(self.new[column].to_pylist())
        return list(zip(self.ids, before, now, strict=True))


def _comparable(values: list[Any]) -> list[Any]:
    """NaN is None here: it is equal to itself."""
    return [None if value != value else value for value in values]


def _compared(ds: Dataset) -> pa.Table:
    """All rows with what is compared, and `.split`, ENDING and ROW_KEY."""
    tables = [_of_split(ds, split) for split in ds.splits]
    # promote: a split may lack a column that another has.
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks()
    names = whole["image_id"].to_pandas()
    again = names.groupby(names).cumcount().astype(str)
    return whole.append_column(ROW_KEY, pa.array(again + " " + names, pa.string()))


def _of_split(ds: Dataset, split: str) -> pa.Table:
    table = ds.table(split)
    outcome = pc.if_else(pc.equal(table["reason"], ""), table["status"], table["reason"])
    left_out = {*COLUMNS, "file", "row"} - {"sha256"}
    kept = [column for column in table.column_names if column not in left_out]
    table = table.select(kept).append_column(ENDING, outcome)
    return table.append_column(".split", pa.array([split] * len(table), pa.string()))
