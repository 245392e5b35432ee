"""From each picture the original, a version for vision models, a thumbnail, and what other sizes
are named."""

from imgprep.stages.variants.build import build
from imgprep.stages.variants.sizes import Size
from imgprep.stages.variants.variants import Variants

__all__ = ["Size", "Variants", "build"]
