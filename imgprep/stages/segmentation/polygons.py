"""Labelled objects of a raster as tables: Parquet for analysis, GeoJSON for maps.

The raster is never in memory.
"""

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
from imgprep.stages.segmentation.places import ScenePlace, scene_place
from imgprep.tiles import components, grid

# A window's side.
OUTLINED_PX = 1024
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("area", pa.int64()),
        ("bbox", pa.list_(pa.int32(), 4)),
        ("centroid", pa.list_(pa.float64(), 2)),
        ("polygon", pa.binary()),
    ]
)
GEO: dict[str, Any] = {
    "encoding": "WKB",
    "geometry_types": ["Polygon", "MultiPolygon"],
    "crs": None,
}

# Columns of the table of objects while it is made, and how those of two windows become one.
OBJECT_COLUMNS = {
    "label": np.minimum,
    "area": np.add,
    "x0": np.minimum,
    "y0": np.minimum,
    "x1": np.maximum,
    "y1": np.maximum,
    "sum_x": np.add,
    "sum_y": np.add,
}
BOTTOM = list(OBJECT_COLUMNS).index("y1")


def write_objects(labels: str, out: str) -> int:
    """Write `out`.parquet and `out`.geojson of a raster of labels; returns how many objects.

    0 is background. Parquet (GeoParquet), in order of id: area, bbox [x, y, width, height],
    centroid [x, y] (the mean of its pixels), polygon (WKB), in pixels of the raster, y down. Edges
    of pixels are edges of polygons, so a polygon's area is the object's; pixels that touch at a
    corner only make a MultiPolygon. Where the raster has a CRS a column `geometry` has the same
    outlines in its coordinates, and is what maps show.
    GeoJSON: WGS 84 longitude and latitude (RFC 7946), without geometry for an object that has no
    place there. Where that cannot be reached (no CRS, another planet, the plan of a house) it is
    `out`.pixels.geojson, of the same pixels. Its member "coordinates" says which.
    Memory: a window, the objects' numbers, and the outlines of those that a row of windows has not
    finished.
    """
    folder, name = os.path.split(out)
    target = Folder(folder)
    with rasters.open(labels) as raster, rasters.gdal():
        place = scene_place(raster)
        on_globe = place.on_globe if place else None
        about = "WGS 84 longitude, latitude" if on_globe else "pixels, y down"
        ending = "geojson" if on_globe else "pixels.geojson"
        with (
            target.create(lambda _: f"{name}.parquet") as table,
            target.create(lambda _: f"{name}.{ending}") as text,
        ):
            head = {"type": "FeatureCollection", "coordinates": about, "features": []}
            # Without its closing brackets: features are written as they come.
            text.write(json.dumps(head)[:-2].encode())
            objects = _measured(raster)
            between = "\n"
            with pq.ParquetWriter(table, _schema(place), compression="zstd") as rows:
                for some, outlines in _outlines(raster, objects):
                    rows.write_table(_object_rows(some, outlines, place))
                    shown = on_globe(outlines) if on_globe else outlines
                    text.write((between + _geojson_features(some, shown)).encode())
                    between = ",\n"
            text.write(b"]}")
    return len(objects)


def _schema(place: ScenePlace | None) -> pa.Schema:
    """Of the table; what maps show of it is its geometry on the ground, where it has one."""
    schema = SCHEMA
    columns = {"polygon": GEO}
    primary = "polygon"
    if place:
        schema = SCHEMA.append(pa.field("geometry", pa.binary()))
        columns["geometry"] = GEO | {"crs": place.projjson()}
        primary = "geometry"
    geo = {"version": "1.1.0", "primary_column": primary, "columns": columns}
    return schema.with_metadata({"geo": json.dumps(geo)})


def _windows_of(raster: Raster) -> Iterator[tuple[int, int, np.ndarray]]:
    """(x, y, labels int32), row by row."""
    for box in grid.cut((0, 0, raster.width, raster.height), (OUTLINED_PX, OUTLINED_PX)):
        yield *box[:2], raster.read(box)[..., 0].astype(np.int32)


def _measured(raster: Raster) -> np.ndarray:
    """One row for each object, by id: the columns of MEASURED, int64."""
    pieces = [np.zeros((0, len(OBJECT_COLUMNS)), np.int64)]
    for x, y, part in _windows_of(raster):
        found = components.regions(part, part, x, y, raster.width)
        pieces.append(np.stack([found[name] for name in OBJECT_COLUMNS], 1))
    rows = np.concatenate(pieces)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    first = np.flatnonzero(np.diff(rows[:, 0], prepend=-1))
    if not len(first):
        return rows
    columns = [how.reduceat(rows[:, i], first) for i, how in enumerate(OBJECT_COLUMNS.values())]
    return np.stack(columns, 1)


def _outlines(raster: Raster, objects: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `objects` and their polygons, by id, as soon as no further window touches them."""
    import shapely

    whole: dict[int, list] = defaultdict(list)
    # What a border of windows may have cut.
    cut: dict[int, list] = defaultdict(list)
    done = 0
    for x, y, part in _windows_of(raster):
        for piece, number in _pieces(x, y, part):
            (cut if _is_at_border(piece, x, y) else whole)[number].append(piece)
        if x + OUTLINED_PX < raster.width:
            continue
        # A row of windows is done, and with it all objects that end there.
        below = np.flatnonzero(objects[done:, BOTTOM] > y + OUTLINED_PX)
        stop = done + int(below[0]) if len(below) else len(objects)
        some = objects[done:stop]
        if len(some):
            # pop: what is finished goes, and memory holds only what is open.
            joined = [_one_outline(whole.pop(n, []), cut.pop(n, [])) for n in some[:, 0].tolist()]
            yield some, shapely.normalize(np.array(joined, object))
        done = stop


def _pieces(x: int, y: int, part: np.ndarray) -> Iterator[tuple[Any, int]]:
    """The outlines of a window's objects, each with its number."""
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine

    place = Affine.translation(x, y)
    for outline, number in shapes(part, mask=part > 0, connectivity=4, transform=place):
        yield shapely.geometry.shape(outline), int(number)


def _is_at_border(piece: Any, x: int, y: int) -> bool:
    left, top, right, bottom = piece.bounds
    is_first = x == left > 0 or y == top > 0
    return is_first or right == x + OUTLINED_PX or bottom == y + OUTLINED_PX


def _one_outline(whole: list, cut: list) -> Any:
    """One outline. Only what a border may have cut needs a union, which is slow."""
    import shapely

    parts = [*whole, *cut]
    if len(cut) > 1:
        # simplify(0) takes out the points that borders of windows left on straight lines.
        parts = [*whole, *shapely.get_parts(shapely.union_all(cut).simplify(0))]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _object_rows(some: np.ndarray, outlines: np.ndarray, place: ScenePlace | None) -> pa.Table:
    import shapely

    ids, area, left, top, right, bottom = some[:, :6].T
    boxes = np.stack([left, top, right - left, bottom - top], 1).astype(np.int32)
    centres = some[:, 6:8] / some[:, 1:2]
    columns = [
        ids,
        area,
        pa.FixedSizeListArray.from_arrays(boxes.ravel(), 4),
        pa.FixedSizeListArray.from_arrays(centres.ravel(), 2),
        pa.array(shapely.to_wkb(outlines), pa.binary()),
    ]
    if place:
        columns.append(pa.array(shapely.to_wkb(place.in_scene(outlines)), pa.binary()))
    return pa.table(columns, schema=_schema(place).remove_metadata())


def _geojson_features(some: np.ndarray, outlines: np.ndarray) -> str:
    import shapely

    lines = []
    shapes = [shape or "null" for shape in shapely.to_geojson(outlines)]
    for (n, area), shape in zip(some[:, :2].tolist(), shapes, strict=True):
        about = f'"id": {n}, "properties": {{"id": {n}, "area": {area}}}'
        lines.append(f'{{"type": "Feature", {about}, "geometry": {shape}}}')
    return ",\n".join(lines)
