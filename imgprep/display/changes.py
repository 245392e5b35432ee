"""What a function made of pictures, in a notebook cell: each one beside what it was."""

import pandas as pd

from imgprep.dataset import Dataset
from imgprep.display.cells import Cell, figure, html_table
from imgprep.display.pictures import caption, every_row, spread, thumbnail
from imgprep.words import number_of

SHOWN_PX = 320
SHOWN_STYLE = "max-width:320px;max-height:240px"


def changes(before: Dataset, after: Dataset, n: int = 4) -> Cell:
    """n pictures of `after`, spread evenly, each beside the one of `before` with its `image_id`.

    Rows that are not ok, or have no picture in `before`, are left out. Says nothing about which is
    better.
    """
    keys = ["split", "image_id"]
    places = [_ok_places(ds) for ds in (before, after)]
    both = places[0].merge(places[1], on=keys, suffixes=("_before", "_after"))
    lines = []
    names = []
    for pair in both.iloc[spread(len(both), n)].to_dict("records"):
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


def _ok_places(ds: Dataset) -> pd.DataFrame:
    """Of the rows that are ok: split, number in it, name and size."""
    table, places = every_row(ds, None)
    columns = ["image_id", "status", "width", "height"]
    frame: pd.DataFrame = table.select(columns).to_pandas().join(places)
    shown: pd.DataFrame = frame[frame.status == "ok"]
    return shown
