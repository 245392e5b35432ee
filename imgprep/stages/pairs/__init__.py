"""(tile, mask) pairs for training, cut out of huge pictures.

No pixel's surroundings cross from one split into another.
"""

from imgprep.stages.pairs.pairs import Cut
from imgprep.stages.pairs.written import write

__all__ = ["Cut", "write"]
