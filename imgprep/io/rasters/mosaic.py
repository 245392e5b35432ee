"""Parts of a picture become one file: a VRT over them, then one copy by GDAL to a COG."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from imgprep.io.rasters.settings import gdal

GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int32": "Int32", "float32": "Float32"}
SIDE = 512
LEVELS = {"zstd": "zstd_level", "deflate": "zlevel"}  # GDAL's names for how hard to pack
COG: dict[str, Any] = {
    "driver": "COG",
    "BLOCKSIZE": SIDE,
    "COMPRESS": "DEFLATE",
    "LEVEL": 1,
    "BIGTIFF": "IF_SAFER",
    "OVERVIEW_RESAMPLING": "NEAREST",
    "PREDICTOR": "NO",
}

MosaicPart = tuple[str, int, int, int, int]  # path, x, y, width, height


def tiff_options(compress: str = "zstd", predictor: int = 1) -> dict[str, Any]:
    """Quick to pack: for what is read once or twice."""
    options: dict[str, Any] = {"driver": "GTiff", "tiled": True}
    options |= {"blockxsize": SIDE, "blockysize": SIDE}
    return options | {"compress": compress, LEVELS[compress]: 1, "predictor": predictor}


def tiff(array: np.ndarray, nodata: float | None = None) -> bytes:
    """A part: (h, w) as a tiled, compressed TIFF."""
    height, width = array.shape
    options = tiff_options() | {"width": width, "height": height, "count": 1}
    options |= {"dtype": array.dtype, "nodata": nodata}
    with gdal() as rasterio, rasterio.io.MemoryFile() as memory:
        with memory.open(**options) as out:
            out.write(array, 1)
        return memory.read()


def stitch(
    parts: Sequence[MosaicPart],
    target: str,
    *,
    size_wh: tuple[int, int],
    dtype: str,
    nodata: float | None,
    crs: str = "",
    transform: Sequence[float] | None = None,
) -> None:
    """Write the file `target`: a cloud-optimised TIFF, tiles of 512, deflate, overviews.

    Overviews take the nearest pixel; BigTIFF where it is that large.
    parts: (path, x, y, width, height) of each; pixels that none covers become nodata. crs: WKT.
    transform: GDAL's six numbers. Appears when it is whole. Memory: GDAL's cache.
    """
    vrt = f"{target}.{os.getpid()}.vrt"
    made = f"{target}.{os.getpid()}.tif"
    band = _band(parts, GDAL_TYPES[dtype], nodata)
    place = _place(crs, transform)
    width, height = size_wh
    head = f"<VRTDataset rasterXSize='{width}' rasterYSize='{height}'>"
    Path(vrt).write_text(f"{head}{place}{band}</VRTDataset>", "utf-8")
    try:
        with gdal() as rasterio:
            rasterio.shutil.copy(vrt, made, **COG)
        # On the disk before it has its name: a mask that is there is taken for finished.
        with Path(made).open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(made, target)
    finally:
        Path(vrt).unlink(missing_ok=True)
        # GDAL leaves its own temporaries and .aux.xml beside what it did not finish.
        for left in Path(target).parent.glob(f"{Path(made).name}*"):
            left.unlink(missing_ok=True)


def _band(parts: Sequence[MosaicPart], kind: str, nodata: float | None) -> str:
    none = "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
    sources = "".join(_source(part, kind) for part in parts)
    return f"<VRTRasterBand dataType='{kind}' band='1'>{none}{sources}</VRTRasterBand>"


def _source(part: MosaicPart, kind: str) -> str:
    path, x, y, w, h = part
    name = f"<SourceFilename relativeToVRT='0'>{_quoted(path)}</SourceFilename>"
    # GDAL need not open the part to know these.
    about = f"RasterXSize='{w}' RasterYSize='{h}' DataType='{kind}'"
    about = f"<SourceProperties {about} BlockXSize='{SIDE}' BlockYSize='{SIDE}'/>"
    taken = f"<SrcRect xOff='0' yOff='0' xSize='{w}' ySize='{h}'/>"
    put = f"<DstRect xOff='{x}' yOff='{y}' xSize='{w}' ySize='{h}'/>"
    return f"<SimpleSource>{name}<SourceBand>1</SourceBand>{about}{taken}{put}</SimpleSource>"


def _place(crs: str, transform: Sequence[float] | None) -> str:
    place = f"<SRS>{_quoted(crs)}</SRS>" if crs else ""
    if transform:
        numbers = ", ".join(repr(float(n)) for n in transform)
        place += f"<GeoTransform>{numbers}</GeoTransform>"
    return place


def _quoted(value: str) -> str:
    return quoteattr(value)[1:-1]
