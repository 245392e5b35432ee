"""What a detector found in a dataset folder, held against annotations: a table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.picture.boxes import Object
from imgprep.rows.annotations.objects import COLUMN
from imgprep.rows.annotations.scores import box_agreement
from imgprep.words import no_column, number_of, say

if TYPE_CHECKING:
    import pandas as pd

AGREEMENT_COLUMNS = ["true", "found", "precision", "recall", "map", "map50", "map75"]


def agreement_table(
    found: Dataset,
    truth: Mapping[str, pa.Table],
    *,
    min_score: float = 0.0,
    iou: float = 0.5,
) -> "pd.DataFrame":
    """How well the column `objects` of a dataset agrees with the truth: a row for each label, and
    "all".

    truth: as `annotations.read` gives it, of the same pictures: rows are matched by image_id. Only
    pictures that stand in both count; how many do not is said. precision and recall are of boxes
    with a score of min_score or more, at one IoU; map, map50 and map75 are COCO's, of all boxes
    that were found, so keep the detector's threshold low for them. ValueError where no picture
    stands in both.
    """
    import pandas as pd  # slow to import, and no worker compares

    ours = _objects_by_id(found)
    theirs: dict[str, Sequence[Object] | None] = {}
    for table in truth.values():
        ids = table["image_id"].to_pylist()
        theirs |= dict(zip(ids, table[COLUMN].to_pylist(), strict=True))
    both = [image_id for image_id in ours if image_id in theirs]
    if not both:
        told = "no picture of the dataset stands in the truth"
        raise ValueError(f"{told}: give annotations.read(…, images=) the folder that was detected in")
    if left := len(ours) - len(both):
        say(f"{number_of(left, 'picture')} without a truth: not counted")
    if unseen := len(theirs) - len(both):
        say(f"{number_of(unseen, 'picture')} of the truth not in the dataset: not counted")
    seen = [ours[image_id] for image_id in both]
    said = [theirs[image_id] or [] for image_id in both]
    scores = box_agreement(seen, said, min_score=min_score, iou=iou)
    lines = scores.pop("classes")
    counted = {"true": sum(map(len, said)), "found": sum(map(len, seen))}
    frame = pd.DataFrame.from_dict(lines | {"all": scores | counted}, orient="index")
    return frame[AGREEMENT_COLUMNS]


def _objects_by_id(found: Dataset) -> dict[str, Sequence[Object]]:
    """What was found in each picture that is ok; a failed one was not looked at."""
    seen = {}
    for split in found.splits:
        table = found.table(split)
        if COLUMN not in table.column_names:
            raise ValueError(no_column(COLUMN, table.column_names, "the dataset"))
        for row in table.select(["image_id", "status", COLUMN]).to_pylist():
            if row["status"] == "ok":
                seen[row["image_id"]] = row[COLUMN] or []
    return seen
