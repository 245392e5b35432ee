"""Pictures that cannot be read by windows cheaply are copied once, into tiles, for the run."""

import errno
import shutil
from typing import NamedTuple

from imgprep import engine, hashing
from imgprep.dataset.files import Folder
from imgprep.io import rasters
from imgprep.io.rasters import Choice
from imgprep.io.uris import SourceError
from imgprep.stages.segmentation.canvas import put_json
from imgprep.stages.segmentation.headers import Scene
from imgprep.stages.segmentation.pieces import TILES
from imgprep.stages.segmentation.scratch import disk_of, made_file
from imgprep.words import line


class Copied(NamedTuple):
    """What a task of a copy says: what to read, the name of the copy without its ending."""

    source: str
    name: str
    choice: Choice = Choice()
    allow_hosts: tuple[str, ...] = ()


def name_of_copy(scene: Scene) -> str:
    """A file that is listed twice is copied once, and every choice of its planes."""
    if not scene.choice.is_made:
        return f"{TILES}/copies/{scene.content}"
    return f"{TILES}/copies/{scene.content}-{hashing.digest(*scene.choice)}"


def copy_scene(folder: Folder, task: engine.Task) -> engine.Summary:
    """NAME.tif; or NAME.json, which says why not."""
    given: Copied = task.payload
    try:
        with made_file(folder, f"{given.name}.tif") as target:
            _copy(given, target)
    except Exception as e:
        # GDAL's, or the store's.
        raise_if_full(folder)
        reason = e.reason if isinstance(e, SourceError) else "error"
        put_json(folder, f"{given.name}.json", {"reason": reason, "error": line(e)})
    return engine.Summary()


def _copy(given: Copied, target: str) -> None:
    hosts = given.allow_hosts
    if given.choice.is_made:
        rasters.copy_chosen(given.source, given.choice, target, allow_hosts=hosts)
    else:
        rasters.copy_tiled(given.source, target, allow_hosts=hosts)


def lost_copy(
    folder: Folder, task: engine.Task, loss: engine.Loss = engine.CRASHED
) -> engine.Summary:
    put_json(folder, f"{task.payload.name}.json", why_lost(loss))
    return engine.Summary()


def why_lost(loss: engine.Loss) -> dict[str, str]:
    """reason and error, as they are kept in the JSON that stands for a result."""
    error = loss.error or "the process that worked on this died, twice"
    return {"reason": loss.reason, "error": error}


def raise_if_full(folder: Folder) -> None:
    """GDAL does not say that the disk was full."""
    # Not 0: the write that failed may have left less than it wanted.
    if shutil.disk_usage(disk_of(folder)).free < 1 << 20:
        raise OSError(errno.ENOSPC, "no space left on the disk")
