"""Pictures that are not tiled are copied once, into tiles, for the time of a run."""

import functools
import os
from typing import Any

from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.io import rasters
from imgprep.resume.passes import Pass
from imgprep.stages.pairs.blocks import COPIES, PairBlock
from imgprep.stages.segmentation.scratch import made_file


def wanted_copies(given: list[PairBlock]) -> dict[str, Any]:
    """Each picture once, however many blocks it has."""
    wanted = {}
    for block in given:
        if block.path != block.source:
            name = f"{COPIES}/{os.path.basename(block.path)}"
            wanted[name] = block.source, name, block.choice, block.allow_hosts
    return wanted


def copy_picture(target: Folder, task: engine.Task) -> engine.Summary:
    source, name, choice, hosts = task.payload
    with made_file(target, name) as path:
        if choice.is_made:
            rasters.copy_chosen(source, choice, path, allow_hosts=hosts)
        else:
            rasters.copy_tiled(source, path, allow_hosts=hosts)
    return engine.Summary()


def nothing_kept(task: engine.Task) -> engine.Summary:
    """Nothing is left behind: the blocks of that picture say that it is not there."""
    return engine.Summary()


def copying(target: Folder) -> Pass:
    """The pass that makes them."""
    copied = functools.partial(copy_picture, target)
    return Pass("copies", wanted_copies, copied, nothing_kept)
