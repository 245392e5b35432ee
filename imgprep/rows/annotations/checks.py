"""What is wrong with annotations: sizes, sides, boxes over the edge, pictures named twice."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from imgprep.io import uris
from imgprep.picture import header
from imgprep.picture.boxes import Object, clip_box, moved, turn_move
from imgprep.rows.annotations.objects import Annotated, ToldObject
from imgprep.words import number_of

HEAD_BYTES = 1 << 20  # of a picture: enough for its header, but for a TIFF with that at its end
EXIF_SIDES = ("shown", "stored")
OVER_PX = 1e-6  # more than this over the edge is told


class Side(NamedTuple):
    """How a picture is stored, and how it is turned when it is shown."""

    stored_wh: tuple[int, int]
    orientation: int  # EXIF's, 1 to 8

    @property
    def shown_wh(self) -> tuple[int, int]:
        """The size of the upright picture."""
        # EXIF's 5 to 8 lie on their side.
        return self.stored_wh[::-1] if self.orientation >= 5 else self.stored_wh


def side_of(path: str) -> Side | None:
    """Of a picture on this machine; None where there is none, or nothing that can be read."""
    if "://" in path or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        data = file.read(HEAD_BYTES)
        # With the first MiB, then with all: a TIFF may have its header at the end.
        for _ in range(2):
            try:
                image = header.open_header(data, None)
            except ValueError:
                data += file.read()
                continue
            return Side(image.size, header.orientation(image))
    return None


def check_names(pictures: Sequence[Annotated]) -> None:
    """ValueError where two entries name one picture."""
    counts = Counter(picture.file_name for picture in pictures)
    twice = [name for name, n in counts.items() if n > 1]
    if twice:
        places = " and ".join(p.told_in for p in pictures if p.file_name == twice[0])
        more = f", and {len(twice) - 1:,} more are named twice" if len(twice) > 1 else ""
        raise ValueError(
            f"{twice[0]} is named twice: by {places}{more}; put their objects into one"
        )


def turned_upright(
    pictures: Sequence[Annotated],
    sides: dict[str, Side | None],
    side: str | None,
    notes: ToldObject,
) -> None:
    """Turn annotations of stored pictures that are shown otherwise.

    side: "shown" (as people see them and browsers' tools draw), "stored" (as OpenCV reads the
    file), None: by the sizes that the file says, which is told. ValueError where pictures are
    turned and their sizes do not tell.
    """
    if side not in (None, *EXIF_SIDES):
        raise ValueError(f"side is 'shown' or 'stored', not {side!r}")
    unclear = []
    for picture in pictures:
        found = sides.get(picture.file_name)
        if found is None or found.orientation == 1 or not picture.objects:
            continue
        which = side or _side_by_size(picture, found)
        if which is None:
            unclear.append(picture.file_name)
        elif which == "stored":
            move = turn_move(found.stored_wh, found.orientation)
            # Nothing is clipped: what is wrong is told later.
            picture.objects = moved(picture.objects, move, clip=False)
            notes.count(
                "picture is turned by EXIF, and its annotations were turned with it",
                "pictures are turned by EXIF, and their annotations were turned with them",
            )
        else:
            notes.count(
                "picture is turned by EXIF; its annotations are of the upright side",
                "pictures are turned by EXIF; their annotations are of the upright side",
            )
    if unclear:
        raise ValueError(
            f"turned by EXIF: {number_of(len(unclear), 'annotated picture')} ({unclear[0]} …), whose size "
            "does not tell which side the annotations are of: give side='shown' (as people see them) "
            "or side='stored' (as OpenCV reads them)"
        )


def _side_by_size(picture: Annotated, found: Side) -> str | None:
    if picture.size_wh is None or found.shown_wh == found.stored_wh:
        return None
    if picture.size_wh == found.shown_wh:
        return "shown"
    return "stored" if picture.size_wh == found.stored_wh else None


def check_sizes(pictures: Sequence[Annotated], sides: dict[str, Side | None]) -> None:
    """ValueError where a file says another size than the picture has, either way round."""
    wrong = []
    for picture in pictures:
        found = sides.get(picture.file_name)
        if found and picture.size_wh and picture.size_wh not in (found.shown_wh, found.stored_wh):
            wrong.append(
                f"{picture.file_name} is {_as_text(found.shown_wh)}, not {_as_text(picture.size_wh)}"
            )
    if wrong:
        raise ValueError(
            f"{number_of(len(wrong), 'picture')} of another size than the annotations say: {wrong[0]} …; "
            "name the folder of the pictures that were annotated, or give bad='keep'"
        )


def _as_text(size_wh: Sequence[int]) -> str:
    return f"{size_wh[0]} x {size_wh[1]}"


def settled(
    picture: Annotated, size_wh: tuple[int, int] | None, bad: str, notes: ToldObject
) -> list[str]:
    """Clip the boxes of a picture, and leave out (bad="drop") what cannot be right; returns
    sentences about that.
    """
    kept, problems = [], []
    for one in picture.objects:
        problem = _box_problem(one, size_wh)
        if problem:
            problems.append(f"a box of {one['label']!r} in {picture.file_name} {problem}")
        if problem and bad == "drop":
            continue
        if size_wh and not problem:
            one = _clipped(one, size_wh, notes)
        kept.append(one)
    picture.objects = kept
    return problems


def _box_problem(one: Object, size_wh: tuple[int, int] | None) -> str:
    """What is wrong with the box of an object; "" where nothing is."""
    box = one.get("box_xywh")
    if box is None:
        return "is missing"
    if len(box) != 4 or any(n != n or abs(n) == float("inf") for n in box):
        return f"is no box: {list(box)}"
    is_pointed = bool(one.get("points_xyv"))  # a single point has no area
    if min(box[2:]) < 0 or (min(box[2:]) == 0 and not is_pointed):
        return f"has no area: width {box[2]:g}, height {box[3]:g}"
    if size_wh and not is_pointed and min(clip_box(box, size_wh)[2:]) <= 0:
        return f"is outside the picture of {_as_text(size_wh)}"
    return ""


def _clipped(one: Object, size_wh: tuple[int, int], notes: ToldObject) -> Object:
    x, y, width, height = one["box_xywh"]
    over = max(-x, -y, x + width - size_wh[0], y + height - size_wh[1])
    if over <= OVER_PX:
        return one
    notes.count(
        "box stands over the edge of its picture and is clipped there",
        "boxes stand over the edge of their picture and are clipped there",
    )
    return {**one, "box_xywh": clip_box(one["box_xywh"], size_wh)}


def side_of_source(folder: str, name: str) -> Side | None:
    """`side_of` a picture by its name from a folder on; outside of that nothing is read."""
    path = uris.inside_folder(name, folder)
    return None if path.startswith(uris.OUTSIDE) else side_of(path)
