"""Pictures of a dataset folder that look alike, and the folder without them."""

from dataclasses import dataclass
from typing import Any

from imgprep.dataset import Dataset
from imgprep.engine.progress import Progress
from imgprep.picture import similar
from imgprep.words import number_of, say

HASHED_AT_ONCE = 64  # pictures that are read together


@dataclass(frozen=True)
class Place:
    """A row that is ok: its split, its number there, and what it is called."""

    split: str
    row: int
    image_id: str
    sha256: str


def look_alikes(ds: Dataset, *, max_distance: int = 6) -> list[list[Place]]:
    """Groups of ok rows with the same bytes, or with hashes that differ in so few bits.

    max_distance: 0 to 12 of 64 bits, see `similar.near`. The first of a group is the first in the
    dataset. Placeholders and failures are in none. Mirrored and turned pictures are not found.
    """
    places = [place for split in ds.splits for place in _picture_places(ds, split)]
    hashes = _picture_hashes(ds, places)
    # Equal bytes are alike even where a picture is so flat that its hash says nothing.
    joined = _joined_places(places, similar.near(hashes, max_distance=max_distance))
    return [[places[number] for number in group] for group in joined]


def write_deduplicated(ds: Dataset, groups: list[list[Place]], out: str) -> Dataset:
    """`out`: the rows of ds, of each group only the first."""
    import pyarrow as pa

    from imgprep.stages import images

    left_out = {(place.split, place.row) for group in groups for place in group[1:]}
    tables = {}
    for split in ds.splits:
        table = ds.table(split)
        keep = [(split, row) not in left_out for row in range(table.num_rows)]
        tables[split] = table.filter(pa.array(keep, pa.bool_()))
    return images.copy(ds, tables, out)


def say_groups(groups: list[list[Place]]) -> None:
    """A line for each group, and how many rows could go."""
    for group in groups:
        say("  ".join(f"{place.split}/{place.image_id}" for place in group))
    extra = sum(len(group) - 1 for group in groups)
    crossing = sum(len({place.split for place in group}) > 1 for group in groups)
    leaks = f"; {number_of(crossing, 'group')} in more than one split" if crossing else ""
    look = "looks" if extra == 1 else "look"
    say(
        f"{number_of(extra, 'row')} {look} like an earlier one, "
        f"in {number_of(len(groups), 'group')}{leaks}"
    )


def _picture_places(ds: Dataset, split: str) -> list[Place]:
    table = ds.table(split, ["image_id", "sha256", "status"])
    found = []
    for row, facts in enumerate(table.to_pylist()):
        if facts["status"] == "ok":
            found.append(Place(split, row, facts["image_id"], facts["sha256"]))
    return found


def _picture_hashes(ds: Dataset, places: list[Place]) -> list[int]:
    """The perceptual hash of each; equal bytes are looked at once."""
    known: dict[str, int] = {}
    progress = Progress("dedup", len(places))
    for start in range(0, len(places), HASHED_AT_ONCE):
        some = places[start : start + HASHED_AT_ONCE]
        for split in {place.split for place in some}:
            new = [p for p in some if p.split == split and p.sha256 not in known]
            pictures = ds.pictures(split, [place.row for place in new])
            for place, data in zip(new, pictures, strict=True):
                known[place.sha256] = similar.look(data)
        progress.update(len(some), {}, 0.0)
    progress.close()
    return [known[place.sha256] for place in places]


def _joined_places(places: list[Place], near: list[list[int]]) -> list[list[int]]:
    """The groups, with those of equal bytes; in the order of their first rows."""
    group_of: dict[Any, list[int]] = {}
    for group in near:
        for number in group:
            group_of[places[number].sha256] = group
    for number, place in enumerate(places):
        group = group_of.setdefault(place.sha256, [])
        if number not in group:
            group.append(number)
    # By identity: a group is one list, which several of its hashes lead to.
    distinct = {id(group): sorted(group) for group in group_of.values() if len(group) > 1}
    return sorted(distinct.values())
