"""What a function made of pictures, in a notebook cell: each one beside what it was."""

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd

from imgprep.dataset import Dataset
from imgprep.display.cells import Cell, figure, html_table
from imgprep.display.pictures import caption, every_row, spread, thumbnail
from imgprep.picture import codec
from imgprep.words import number_of

SHOWN_PX = 320
LOOKED_AT = 64  # pairs: a cell opens at once
LOOK_PX = 96
SHOWN_STYLE = "max-width:320px;max-height:240px"


def changes(before: Dataset, after: Dataset, n: int = 4) -> Cell:
    """The n pictures of `after` that changed most, each beside the one of `before` with its
    `image_id`, in their order.

    Looked for among LOOKED_AT that are spread evenly, at thumbnail size. Rows that are not ok, or
    have no picture in `before`, are left out. Says nothing about which is better.
    """
    keys = ["split", "image_id"]
    places = [_ok_places(ds) for ds in (before, after)]
    both = places[0].merge(places[1], on=keys, suffixes=("_before", "_after"))
    lines = []
    names = []
    pairs = both.iloc[spread(len(both), max(n, LOOKED_AT))].to_dict("records")
    if len(pairs) > n:
        amounts = [-_levels_apart(before, after, pair) for pair in pairs]
        # What changed equally stays in its order.
        most = np.argsort(amounts, kind="stable")[:n]
        pairs = [pairs[place] for place in sorted(most.tolist())]
    for pair in pairs:
        line = []
        for ds, which in ((before, "before"), (after, "after")):
            picture = ds.pictures(pair["split"], [int(pair[f"row_{which}"])])[0]
            size = f"{pair[f'width_{which}']} × {pair[f'height_{which}']}"
            text = f"{caption(pair['image_id'], 40)} · {size}"
            line.append(figure(thumbnail(picture, SHOWN_PX), text, SHOWN_STYLE))
        lines.append(line)
        names.append(caption(pair["image_id"], 40))
    text = f"{number_of(len(lines), 'picture')} before and after: {', '.join(names)}"
    return Cell(html_table(["before", "after"], lines), text)


def _levels_apart(before: Dataset, after: Dataset, pair: Mapping[Hashable, Any]) -> float:
    """How far two pictures are apart as small squares: the mean of the levels between them."""
    small = []
    for ds, which in ((before, "before"), (after, "after")):
        picture = ds.pictures(pair["split"], [int(pair[f"row_{which}"])])[0]
        try:
            image = codec.decode(picture or b"", min_wh=(LOOK_PX, LOOK_PX))
        except codec.DecodeError:
            return 0.0
        size_wh = (LOOK_PX, LOOK_PX)
        small.append(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA).astype(float))
    return float(np.abs(small[0] - small[1]).mean())


def _ok_places(ds: Dataset) -> pd.DataFrame:
    """Of the rows that are ok: split, number in it, name and size."""
    table, places = every_row(ds, None)
    columns = ["image_id", "status", "width", "height"]
    frame: pd.DataFrame = table.select(columns).to_pandas().join(places)
    shown: pd.DataFrame = frame[frame.status == "ok"]
    return shown
