"""What each stage left of the rows, split by split, also where rows were dealt out to other
splits.
"""

from typing import Any

import pandas as pd

from imgprep.dataset import Dataset

SAME_PICTURES = 0.5  # from this share of known ids on, two stages are about the same pictures


def funnels(stages: list[Dataset], names: list[str]) -> list[dict[str, Any]]:
    """The rows that went in and what is left after each stage: {"split", "steps", "most"}.

    One for each split. Where rows were dealt out to other splits, rows that moved are no loss: one
    for all of them up to there, then one for each new split.
    """
    at = _dealt_at(stages)
    found = []
    if at:
        until = at + 1
        found.append(_funnel(stages[:until], names[:until], None))
    for split in stages[at].splits:
        found.append(_funnel(stages[at:], names[at:], split))
    return found


def _funnel(stages: list[Dataset], names: list[str], split: str | None) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    for ds, name in zip(stages, names, strict=True):
        counts = ds.counts(split)
        steps.append({"name": name, **counts})
    rows = steps[0]["rows"]
    # What went in: nothing of it is lost yet.
    start = {"name": "rows", "rows": rows, "ok": rows, "placeholder": 0, "failed": 0}
    most = max(step["rows"] for step in steps)
    return {"split": split or "all splits", "steps": [start, *steps], "most": most}


def _dealt_at(stages: list[Dataset]) -> int:
    """The number of the last stage whose rows stand in other splits than before; 0: none."""
    # From the end: a later deal is the one whose splits readers see.
    for at in reversed(range(1, len(stages))):
        before = stages[at - 1]
        after = stages[at]
        has_others = set(before.splits) != set(after.splits)
        if has_others or (len(after.splits) > 1 and _rows_moved(before, after)):
            return at
    return 0


def _rows_moved(before: Dataset, after: Dataset) -> bool:
    """Is a picture in another split than before? Of ids that stand in several splits none
    counts.
    """
    there = _split_of(before)
    here = _split_of(after)
    both = there.index.intersection(here.index)
    return bool((there[both] != here[both]).any())


def _split_of(ds: Dataset) -> "pd.Series[str]":
    parts = []
    for split in ds.splits:
        ids = ds.table(split, ["image_id"])["image_id"].to_pandas()
        parts.append(pd.Series(split, index=ids))
    whole = pd.concat(parts)
    # An id that stands in two splits says nothing about where it moved.
    return whole[~whole.index.duplicated(keep=False)]


def deal_as(first: pd.DataFrame, last: pd.DataFrame) -> bool:
    """Put the rows of the first stage into the splits that they are in now; False: nothing moved.

    Sets `split` of `first`; it is "" where a row is no longer there. Leaves all as it is where the
    last stage is about other pictures.
    """
    splits = _splits_now(first, last)
    known = [(split, home) for split, home in zip(splits, first.home, strict=True) if split]
    is_other = len(known) < SAME_PICTURES * len(splits)
    if is_other or all(split == home for split, home in known):
        return False
    first["split"] = splits
    return True


def _splits_now(first: pd.DataFrame, last: pd.DataFrame) -> list[str]:
    """The split in which each row of the first stage, or a child of it, is now; "" for none."""
    # Parents first: an id of the row itself says more than that of a child, so it comes on top.
    now = dict(zip(last.parent, last.split, strict=True))
    now.update(zip(last.image_id, last.split, strict=True))
    splits = []
    for image_id, home in zip(first.image_id, first.home, strict=True):
        # An id of two splits got the name of its own behind it when they were dealt out as one.
        split = now.get(f"{image_id}-{home}") or now.get(image_id, "")
        splits.append(split)
    return splits
