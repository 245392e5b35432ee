"""The verbs a notebook calls: `download` a table's pictures, `transform` every picture with a
function."""

from imgprep.stages.images.download import download
from imgprep.stages.images.in_batches import batch
from imgprep.stages.images.stored import copy, write
from imgprep.stages.images.transform import transform

__all__ = ["batch", "copy", "download", "transform", "write"]
