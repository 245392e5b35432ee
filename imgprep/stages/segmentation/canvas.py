"""What is known of a picture so far: one object, from the first pass to its row."""

import json
from dataclasses import dataclass, field
from typing import Any

from imgprep.dataset.files import Folder
from imgprep.stages.segmentation.headers import Scene
from imgprep.stages.segmentation.pieces import TILES
from imgprep.tiles.windows import Box


@dataclass(frozen=True)
class Canvas:
    """A picture on its way to a mask.

    blocks: of the mask. chosen: what the first pass decided, as the operator's second argument.
    masks: the pass whose pieces are the mask. asked: the passes whose pieces say what failed.
    ids, rows: the file that says which labels are one object; the part of it for each block.
    row: what its row will say. dtype: of the mask; "" where no tile could be read.
    """

    scene: Scene
    blocks: list[Box] = field(default_factory=list)
    chosen: tuple = ()
    masks: str = ""
    asked: tuple[str, ...] = ()
    ids: str = ""
    rows: dict[Box, tuple[int, int]] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    dtype: str = ""

    @property
    def home(self) -> str:
        """Where its pieces and files are made."""
        return f"{TILES}/{self.scene.key}"

    def piece(self, pass_name: str, block: Box) -> str:
        """A block's piece, without an ending: by row and column, as they stand in the picture."""
        return f"{self.home}/{pass_name}/{block[1]}-{block[0]}"


def put_json(folder: Folder, name: str, value: dict[str, Any]) -> None:
    folder.put(name, json.dumps(value).encode())


def get_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """None where there is no such file."""
    data = folder.get(name)
    return None if data is None else json.loads(data)


def unfinished(folder: Folder, given: list[Scene]) -> list[Scene]:
    """Those that can be read, without those that a run, killed after that, has made a row of."""
    found = []
    for scene in given:
        if scene.reason:
            continue
        row = get_json(folder, f"{Canvas(scene).home}/row.json")
        # A row with a reason was a failure, and failures of a run that was killed are tried again.
        if row is None or row.get("reason"):
            found.append(scene)
    return found
