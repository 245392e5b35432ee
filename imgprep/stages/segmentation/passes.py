"""The passes of a segmentation, as data: what its blocks and files are made from, in which order.

copies, histogram, mask, fill, labels, files, figures, rows; some are left out where the recipe
does not ask for them. Between two of them `reduce` looks what the blocks have come to.
"""

import functools
from collections.abc import Callable
from typing import Any

from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.resume.passes import Pass
from imgprep.stages.segmentation import block, chain, copies, finish
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.stages.segmentation.reduce import Reduce
from imgprep.stages.segmentation.tasks import Tasks


def passes_of(
    recipe: Recipe,
    folder: Folder,
    limits: engine.Limits,
    *,
    num_gpus: float = 0,
    max_disk_gb: float | None = None,
) -> list[Pass]:
    """What has to be done, in order. The first pass is given a list of Scenes."""
    tasks = Tasks(recipe, folder, limits.max_memory_mb, max_disk_gb)
    reduce = Reduce(recipe, folder)
    # Our operators let other threads run while they work; of somebody's function nobody knows.
    threads = chain.is_of_package(recipe.operator) and not limits.is_chosen
    # Two passes ask the operator; the others need no model.
    asks = {
        "once": getattr(recipe.operator, "once", False),
        "num_gpus": num_gpus,
        "limits": limits,
    }

    def of_blocks(fn: Callable, **more: Any) -> Pass:
        bound = functools.partial(fn, recipe, folder)
        lost = functools.partial(block.lost_block, folder)
        return Pass(fn=bound, lost=lost, unit="blocks", threads=threads, **more)

    def of_files(name: str, **more: Any) -> Pass:
        bound = functools.partial(finish.make_file, recipe, folder)
        lost = functools.partial(finish.lost_picture, folder)
        return Pass(name, fn=bound, lost=lost, threads=threads, **more)

    copying = Pass(
        "copies",
        tasks=tasks.copies,
        fn=functools.partial(copies.copy_scene, folder),
        lost=functools.partial(copies.lost_copy, folder),
        reduce=reduce.begun,
        threads=threads,
    )
    histogram = of_blocks(
        block.measure_block, name="histogram", tasks=tasks.cells, reduce=reduce.chosen, **asks
    )
    mask = of_blocks(
        block.paint_block, name="mask", tasks=tasks.blocks, reduce=reduce.painted, **asks
    )
    fill = of_blocks(block.fill_block, name="fill", tasks=tasks.filling, reduce=reduce.filled)
    labels = of_blocks(
        block.number_block, name="labels", tasks=tasks.numbering, reduce=reduce.numbered
    )
    return [
        copying,
        # A list times a bool: the pass, or none.
        *[histogram] * recipe.two_pass,
        mask,
        *[fill] * recipe.fill_holes,
        *[labels] * recipe.has_labels,
        of_files("files", tasks=tasks.files, reduce=reduce.counted),
        of_files("figures", tasks=tasks.figures, reduce=reduce.alive),
        of_files("rows", tasks=tasks.rows),
    ]
