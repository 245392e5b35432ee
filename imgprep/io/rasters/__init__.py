"""Pictures that do not fit in memory, read by windows: GDAL's formats, and openslide's slides.

`raster` opens them, `numbered` those that are masks, `planes` chooses among many in one file,
`tiled` copies what cannot be read by windows, `mosaic` puts parts together, `white` turns those
that count from white, `marks` tells versions apart, `settings` is GDAL as we use it.
"""

from imgprep.io.rasters.marks import content, scene_identity
from imgprep.io.rasters.numbered import Numbered, open_numbers
from imgprep.io.rasters.planes import (
    Choice,
    checked_choice,
    copy_chosen,
    count_planes,
    open_chosen,
    told_planes,
)
from imgprep.io.rasters.raster import DRIVERS, Raster, open_raster
from imgprep.io.rasters.settings import OPTIONS, gdal
from imgprep.io.rasters.tiled import copy_tiled, needs_copy
from imgprep.io.uris import SourceError

open = open_raster  # noqa: A001 - reads as rasters.open(uri)

__all__ = [
    "DRIVERS",
    "Choice",
    "Numbered",
    "OPTIONS",
    "Raster",
    "SourceError",
    "checked_choice",
    "content",
    "copy_tiled",
    "copy_chosen",
    "count_planes",
    "gdal",
    "scene_identity",
    "needs_copy",
    "open",
    "open_chosen",
    "open_numbers",
    "open_raster",
    "told_planes",
]
