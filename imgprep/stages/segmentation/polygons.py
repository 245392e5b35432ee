"""Labelled objects of a raster as tables: Parquet for analysis, GeoJSON for maps. The raster is never in memory."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.dataset.files import Folder
from imgprep.io import rasters
from imgprep.io.rasters import Raster
from imgprep.stages.segmentation import block
from imgprep.tiles import components

SIDE = 1024  # pixels of a window's side
SCHEMA = pa.schema({"id": pa.int64(), "area": pa.int64(), "bbox": pa.list_(pa.int32(), 4),
                    "centroid": pa.list_(pa.float64(), 2), "polygon": pa.binary()})  # fmt: skip
GEO = {"encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"], "crs": None}


def write(labels: str, out: str) -> int:
    """Write `out`.parquet and `out`.geojson of a raster of labels (0 is background); returns the number of objects.

    Parquet, in order of id: area, bbox [x, y, width, height], centroid [x, y] (the mean of its pixels), polygon (WKB;
    GeoParquet), all in pixels of the raster, y down. Edges of pixels are edges of polygons, so a polygon's area
    is the object's; pixels that touch at a corner only make a MultiPolygon. GeoJSON: WGS 84 longitude and latitude
    (RFC 7946) where the raster has a place on earth, else the same pixels; its member "coordinates" says which.
    Memory: a window, the objects' numbers, and the outlines of those that a row of windows has not finished.
    """
    folder, name = os.path.split(out)
    target = Folder(folder)
    with (
        rasters.open(labels) as raster,
        rasters.gdal() as rasterio,
        target.create(lambda _: f"{name}.parquet") as table,
    ):
        crs = rasterio.CRS.from_wkt(raster.crs) if raster.crs and raster.transform else None
        known = bool(crs and (crs.is_geographic or crs.is_projected))  # a plan of a house has coordinates, too
        about = "WGS 84 longitude, latitude" if known else "pixels, y down"
        geo = {"version": "1.1.0", "primary_column": "polygon", "columns": {"polygon": GEO}}
        with target.create(lambda _: f"{name}.geojson") as text:
            text.write(json.dumps({"type": "FeatureCollection", "coordinates": about, "features": []})[:-2].encode())
            objects, first = _objects(raster), True
            with pq.ParquetWriter(table, SCHEMA.with_metadata({"geo": json.dumps(geo)}), compression="zstd") as rows:
                for some, outlines in _outlines(raster, objects):
                    rows.write_table(_table(some, outlines))
                    places = _placed(outlines, raster) if known else outlines
                    text.write(_features(some, places, first).encode())
                    first = False
            text.write(b"]}")
    return len(objects)


def _windows(raster: Raster) -> Iterator[tuple[int, int, np.ndarray]]:
    for box in block.cut((0, 0, raster.width, raster.height), (SIDE, SIDE)):
        yield *box[:2], raster.read(box)[..., 0].astype(np.int32)


def _objects(raster: Raster) -> np.ndarray:
    """One row for each object, by id: id, area, left, top, right, bottom, sum of x, sum of y. int64."""
    names, pieces = ("label", "area", "x0", "y0", "x1", "y1", "sum_x", "sum_y"), [np.zeros((0, 8), np.int64)]
    for x, y, part in _windows(raster):
        found = components.regions(part, part, x, y, raster.width)
        pieces.append(np.stack([found[name] for name in names], 1))
    rows = np.concatenate(pieces)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    first = np.flatnonzero(np.diff(rows[:, 0], prepend=-1))
    how = [np.minimum, np.add, np.minimum, np.minimum, np.maximum, np.maximum, np.add, np.add]
    return np.stack([f.reduceat(rows[:, i], first) for i, f in enumerate(how)], 1) if len(first) else rows


def _outlines(raster: Raster, objects: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `objects` and their polygons, in order of id, as soon as no further window touches them."""
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine

    pieces, cut, done = defaultdict(list), defaultdict(list), 0  # those that a border of windows may cut
    for x, y, part in _windows(raster):
        for outline, number in shapes(part, mask=part > 0, connectivity=4, transform=Affine.translation(x, y)):
            piece = shapely.geometry.shape(outline)
            left, top, right, bottom = piece.bounds
            is_cut = x == left > 0 or y == top > 0 or right == x + SIDE or bottom == y + SIDE
            (cut if is_cut else pieces)[int(number)].append(piece)
        if x + SIDE >= raster.width:
            ready = np.flatnonzero(objects[done:, 5] > y + SIDE)
            stop = done + int(ready[0]) if len(ready) else len(objects)
            some = objects[done:stop]
            if len(some):
                whole = [_whole(pieces.pop(n, []), cut.pop(n, [])) for n in some[:, 0].tolist()]
                yield some, shapely.normalize(np.array(whole, object))
            done = stop


def _whole(pieces: list, cut: list) -> Any:
    """One outline. Only what a border may have cut needs a union, which is slow."""
    import shapely

    joined = cut if len(cut) < 2 else shapely.get_parts(shapely.union_all(cut).simplify(0))
    parts = [*pieces, *joined]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _table(some: np.ndarray, outlines: np.ndarray) -> pa.Table:
    import shapely

    left, top, right, bottom = some[:, 2:6].T
    boxes = np.stack([left, top, right - left, bottom - top], 1).astype(np.int32)
    centres = some[:, 6:8] / some[:, 1:2]
    listed = [pa.FixedSizeListArray.from_arrays(v.ravel(), n) for v, n in ((boxes, 4), (centres, 2))]
    return pa.table([some[:, 0], some[:, 1], *listed, pa.array(shapely.to_wkb(outlines), pa.binary())], schema=SCHEMA)


def _placed(outlines: np.ndarray, raster: Raster) -> np.ndarray:
    """On the globe, outer rings counter-clockwise."""
    import shapely
    from rasterio import warp

    left, right_x, down_x, top, right_y, down_y = raster.transform

    def on_earth(at: np.ndarray) -> np.ndarray:
        x, y = left + at @ [right_x, down_x], top + at @ [right_y, down_y]
        return np.round(np.stack(warp.transform(raster.crs, "EPSG:4326", x, y), 1), 9)

    return shapely.orient_polygons(shapely.transform(outlines, on_earth))


def _features(some: np.ndarray, outlines: np.ndarray, is_first: bool) -> str:
    import shapely

    lines = [
        f'{{"type": "Feature", "id": {n}, "properties": {{"id": {n}, "area": {area}}}, "geometry": {shape}}}'
        for (n, area), shape in zip(some[:, :2].tolist(), shapely.to_geojson(outlines), strict=True)
    ]
    return ("\n" if is_first else ",\n") + ",\n".join(lines)
