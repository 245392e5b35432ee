"""A function of a picture as one of Ray Data's batches."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from imgprep.resume import make
from imgprep.resume.work import Loaded

RayBatch = dict[str, np.ndarray]


def batch(fn: Callable, **options: Any) -> Callable[[RayBatch], RayBatch]:
    """The function for `ray.data.Dataset.map_batches`: pictures in column `image` (encoded bytes,
    or the HF struct).

    A picture that fn fails on becomes b"" with a sentence in the column `error`.
    """
    picture = make.Picture(functools.partial(fn, **options), name=make.name_of(fn))

    def on_batch(table: RayBatch) -> RayBatch:
        images, errors = [], []
        for value in table["image"]:
            data = value["bytes"] if isinstance(value, dict) else value
            one = Loaded(b"", data or b"", {})
            result = next(picture(iter([one])))
            images.append(result.get("image") or b"")
            errors.append(result["error"])
        return {**table, "image": np.array(images, object), "error": np.array(errors, object)}

    on_batch.__name__ = make.name_of(fn)
    return on_batch
