"""Films: their frames as rows of pictures, and ladders of renditions that browsers play."""

from imgprep.stages.film.film import FrameRows
from imgprep.stages.film.frames import extract_frames

__all__ = ["FrameRows", "extract_frames"]
