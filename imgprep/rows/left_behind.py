"""Columns of boxes, masks and points that would not move with a picture whose size changes."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from imgprep.picture import geometry, ocr

# What a column of these names holds are pixels of the picture, whatever its type.
PLACE_NAMES = (
    "objects",
    "boxes",
    "bbox",
    "bboxes",
    "polygons",
    "segmentation",
    "points",
    "keypoints",
    "masks",
)
RESIZING = (geometry.fit, geometry.fit_pad, geometry.shrink, ocr.prepare)


def box_columns(schema: pa.Schema) -> list[str]:
    """The columns that hold places in the picture: by their name,
    or lists of structs with a box.
    """
    found = []
    for field in schema:
        is_named = field.name in PLACE_NAMES or field.name.startswith(("boxes_", "points_"))
        is_place = pa.types.is_nested(field.type) and (is_named or _has_box(field.type))
        if is_place:
            found.append(field.name)
    return found


def left_behind(schema: pa.Schema, fn: Callable[..., Any], returned: Sequence[str]) -> str:
    """The sentence on columns that a function of a picture does not take along;
    "" where there are none.

    returned: the columns that it gives back. Of our own functions it is known which change a
    picture's size; of a user's it is not.
    """
    left = [name for name in box_columns(schema) if name not in returned]
    is_ours = (getattr(fn, "__module__", "") or "").startswith("imgprep.")
    if not left or (is_ours and fn not in RESIZING):
        return ""
    name = getattr(fn, "__name__", type(fn).__name__)
    columns = ", ".join(left)
    are = "is a column" if len(left) == 1 else "are columns"
    if is_ours:
        fix = "annotations.fit_pad_objects moves objects with their picture"
        return f"{columns} {are} of places in the picture, which {name} does not move: {fix}"
    return (
        f"{columns} {are} of places in the picture, which stay as they are: "
        f"where {name} changes the picture's size, let it take and return them, too"
    )


def _has_box(type_: pa.DataType) -> bool:
    while pa.types.is_list(type_) or pa.types.is_large_list(type_):
        type_ = type_.value_type
    if not pa.types.is_struct(type_):
        return False
    names = {type_.field(place).name for place in range(type_.num_fields)}
    return bool(names & {"box_xywh", "bbox", "box", "polygons", "keypoints"})
