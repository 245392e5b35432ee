"""Parts of a picture become one file: a VRT over them, then one copy by GDAL to a cloud-optimised TIFF."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from imgprep.io.rasters import gdal

TYPES = {"uint8": "Byte", "uint16": "UInt16", "int32": "Int32", "float32": "Float32"}
SIDE = 512


def tiff_options(compress: str = "zstd", predictor: int = 1) -> dict[str, Any]:
    """Quick to pack: for what is read once or twice."""
    packed = {"compress": compress, {"zstd": "zstd_level", "deflate": "zlevel"}[compress]: 1, "predictor": predictor}
    return {"driver": "GTiff", "tiled": True, "blockxsize": SIDE, "blockysize": SIDE, **packed}


def tiff(array: np.ndarray, nodata: float | None = None) -> bytes:
    """A part: (h, w) as a tiled, compressed TIFF."""
    height, width = array.shape
    options = tiff_options() | {"width": width, "height": height, "count": 1, "dtype": array.dtype, "nodata": nodata}
    with gdal() as rasterio, rasterio.io.MemoryFile() as memory:
        with memory.open(**options) as out:
            out.write(array, 1)
        return memory.read()


def stitch(
    parts: Sequence[tuple[str, int, int, int, int]],
    target: str,
    *,
    size_wh: tuple[int, int],
    dtype: str,
    nodata: float | None,
    crs: str = "",
    transform: Sequence[float] | None = None,
) -> None:
    """Write the file `target`: tiles of 512, deflate, overviews by the nearest pixel; BigTIFF where it is that large.

    parts: (path, x, y, width, height) of each; pixels that none covers become nodata. crs: WKT. transform: GDAL's six
    numbers. Appears when it is whole. Memory: GDAL's cache.
    """
    vrt, made = f"{target}.{os.getpid()}.vrt", f"{target}.{os.getpid()}.tif"
    Path(vrt).write_text(_vrt(parts, size_wh, TYPES[dtype], nodata, crs, transform), "utf-8")
    options = {"driver": "COG", "BLOCKSIZE": SIDE, "COMPRESS": "DEFLATE", "LEVEL": 1, "BIGTIFF": "IF_SAFER"}
    options |= {"OVERVIEW_RESAMPLING": "NEAREST", "PREDICTOR": "NO"}
    try:
        with gdal() as rasterio:
            rasterio.shutil.copy(vrt, made, **options)
        with Path(made).open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(made, target)
    finally:
        for path in (vrt, *Path(target).parent.glob(f"{Path(made).name}*")):
            Path(path).unlink(missing_ok=True)


def _vrt(parts: Any, size_wh: Any, kind: str, nodata: float | None, crs: str, transform: Any) -> str:
    sources = [
        f"<SimpleSource><SourceFilename relativeToVRT='0'>{_text(path)}</SourceFilename><SourceBand>1</SourceBand>"
        f"<SourceProperties RasterXSize='{w}' RasterYSize='{h}' DataType='{kind}' BlockXSize='{SIDE}' "
        f"BlockYSize='{SIDE}'/><SrcRect xOff='0' yOff='0' xSize='{w}' ySize='{h}'/>"
        f"<DstRect xOff='{x}' yOff='{y}' xSize='{w}' ySize='{h}'/></SimpleSource>"
        for path, x, y, w, h in parts
    ]
    none = "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
    place = f"<SRS>{_text(crs)}</SRS>" if crs else ""
    place += f"<GeoTransform>{', '.join(map(repr, map(float, transform)))}</GeoTransform>" if transform else ""
    band = f"<VRTRasterBand dataType='{kind}' band='1'>{none}{''.join(sources)}</VRTRasterBand>"
    return f"<VRTDataset rasterXSize='{size_wh[0]}' rasterYSize='{size_wh[1]}'>{place}{band}</VRTDataset>"


def _text(value: str) -> str:
    return quoteattr(value)[1:-1]
