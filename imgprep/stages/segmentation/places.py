"""Where outlines in pixels lie: in the coordinates of their scene, and on the globe."""

from collections.abc import Callable
from typing import Any

import numpy as np

from imgprep.io.rasters import Raster

WGS84 = "EPSG:4326"
# Of a degree: a tenth of a millimetre.
DIGITS = 9

Placing = Callable[[np.ndarray], np.ndarray]


class ScenePlace:
    """A raster's place: its CRS and transform. `on_globe` is None where WGS 84 cannot be reached.

    in_scene: outlines in pixels -> in the scene's coordinates. on_globe: -> longitude and
    latitude, outer rings counter-clockwise; None for an outline that has no place there.
    """

    def __init__(self, raster: Raster):
        import rasterio

        if raster.transform is None:
            raise ValueError("a raster without a transform has no place")
        self._crs = rasterio.CRS.from_wkt(raster.crs)
        self._transform = np.array(raster.transform, float)
        size_wh = np.array([raster.width, raster.height], float)
        self.on_globe: Placing | None = self._on_globe if self._reaches_wgs84(size_wh) else None

    def projjson(self) -> dict[str, Any] | None:
        """The CRS as GeoParquet names it; None where PROJ has no such words for it."""
        from rasterio.errors import RasterioError

        try:
            return self._crs.to_dict(projjson=True)
        except (RasterioError, ValueError):
            return None

    def in_scene(self, outlines: np.ndarray) -> np.ndarray:
        import shapely

        return shapely.transform(outlines, self._coordinates)

    def _coordinates(self, at: np.ndarray) -> np.ndarray:
        left, right_x, down_x, top, right_y, down_y = self._transform
        x = left + at @ [right_x, down_x]
        y = top + at @ [right_y, down_y]
        return np.stack([x, y], 1)

    def _degrees(self, at: np.ndarray) -> np.ndarray:
        from rasterio import warp

        x, y = self._coordinates(at).T
        found = np.stack(warp.transform(self._crs, WGS84, x, y), 1)
        if not np.isfinite(found).all():
            raise ValueError("a point lies outside of the projection")
        return np.round(found, DIGITS)

    def _reaches_wgs84(self, size_wh: np.ndarray) -> bool:
        """Of nine points of the picture does any have a place? Mars has none, nor has a house."""
        # A plan of a house has coordinates, too.
        if not (self._crs.is_geographic or self._crs.is_projected):
            return False
        steps = np.array([0, 0.5, 1])
        points = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2) * size_wh
        return any(self._has_place(point[None]) for point in points)

    def _has_place(self, at: np.ndarray) -> bool:
        try:
            self._degrees(at)
        except Exception:
            # Rasterio's for PROJ's words are private, and have no common one.
            return False
        return True

    def _on_globe(self, outlines: np.ndarray) -> np.ndarray:
        import shapely

        try:
            return shapely.orient_polygons(shapely.transform(outlines, self._degrees))
        except Exception:
            # One point without a place, as at the rim of a full disk, must not cost the others.
            if len(outlines) == 1:
                return np.array([None], object)
            return np.concatenate(
                [self._on_globe(outlines[n : n + 1]) for n in range(len(outlines))]
            )


def scene_place(raster: Raster) -> ScenePlace | None:
    """None for a raster without CRS or transform, as most pictures are."""
    return ScenePlace(raster) if raster.crs and raster.transform else None
