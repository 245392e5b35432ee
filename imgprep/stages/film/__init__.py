"""Films: their frames as rows of pictures, and ladders of renditions that browsers play."""

from imgprep.stages.film.film import FrameRows, LadderRows
from imgprep.stages.film.frames import extract_frames
from imgprep.stages.film.transcode import transcode

__all__ = ["FrameRows", "LadderRows", "extract_frames", "transcode"]
