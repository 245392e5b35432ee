"""Masks, objects and overlays of pictures of any size: `segment`, and `preview` on one window.

An operator makes a mask of a tile. Any function is one; so is a number (a threshold), and so are
words: "otsu-tissue", "otsu", "multiotsu", "128 bright" (each threshold "dark" or "bright"),
"median 5", "gaussian 2", "opening 3", "closing 3", "watershed 12"; a file "model.onnx", a model's
name on the Hub; and a list of all these, one step after another.

An operator is a callable `fn(tile)`, or `fn(tile, chosen)` where it has two passes. tile: (h, w,
bands) as the raster stores it. It returns (h, w): a mask (bool, uint8 or uint16; 0 is background,
other numbers are classes), labels (int32, with the attribute `instances = True`), or probabilities
(float32, 0 to 1). Attributes it may have:

    radius       how far a pixel's answer depends on others, in pixels. It has to be stated (by
                 the attribute, or by `halo=` of the call): 0 for a function of each pixel alone;
                 None where there is no bound, so that the tiled answer is not the whole
                 picture's, and the call must say approximate=True.
    stats_radius what `stats` needs around `inner`, in pixels (0 where it is absent).
    two_pass     False: `choose` needs no first pass (of an operator that could have one).
    once         True: a model, so that each worker keeps one.
    batch        it also takes a list of up to so many tiles, and returns a list of as many results.
    tile_wh, least_wh    the tiles it is made for; the least that it wants of a picture that has
                 so much.
    predict, decide      probabilities (h, w, channels) of a list of tiles; and their mask, for
                 blending (see models).
    instances    True: each number of the result is an object of its own.
    version      of operators in an installed package: raise it when results change.

A two-pass operator decides over the whole picture before it makes the mask. Its first pass sees
tiles of a fixed grid, so that what it decides does not depend on tile_wh:

    stats(tile, inner, valid)   numbers, text, arrays, and lists, tuples and dicts of these; None
                                for a tile that does not count. inner: (rows, columns) slices of
                                what is to be counted, the rest is halo. valid: (h, w) bool, or
                                None for all.
    merge(a, b)                 of two such; must be exact, in any order.
    choose(stats)               what `fn` gets as `chosen`; stats is None where no tile counted.
"""

from imgprep.io import rasters
from imgprep.stages.segmentation.chain import Chain, operator_of
from imgprep.stages.segmentation.filters import Filter, Watershed
from imgprep.stages.segmentation.finish import MEASURES, OUTPUTS
from imgprep.stages.segmentation.measures import evaluate
from imgprep.stages.segmentation.pieces import TILES
from imgprep.stages.segmentation.preview import preview
from imgprep.stages.segmentation.segment import SEGMENT_COLUMNS, segment
from imgprep.stages.segmentation.threshold import Threshold

__all__ = [
    "SEGMENT_COLUMNS",
    "MEASURES",
    "OUTPUTS",
    "TILES",
    "Chain",
    "Filter",
    "Threshold",
    "Watershed",
    "evaluate",
    "operator_of",
    "preview",
    "rasters",
    "segment",
]
