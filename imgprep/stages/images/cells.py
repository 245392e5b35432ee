"""Pictures as Ray Data and `datasets` have them in a column: bytes, structs, arrays."""

from typing import Any

import numpy as np
import pyarrow as pa

from imgprep.io import uris
from imgprep.io.web.options import Options
from imgprep.picture import codec


def picture_cells(column: pa.ChunkedArray) -> list[Any]:
    """The cells of a column of pictures; Ray keeps arrays as a type of its own."""
    cells: list[Any] = []
    for chunk in column.chunks:
        is_tensor = isinstance(chunk, pa.ExtensionArray) and hasattr(chunk, "to_numpy_ndarray")
        if is_tensor:
            cells += list(chunk.to_numpy_ndarray())
        elif isinstance(chunk, pa.ExtensionArray):
            cells += list(chunk.to_numpy(zero_copy_only=False))
        else:
            cells += chunk.to_pylist()
    return cells


def encoded_cell(cell: Any) -> bytes:
    """The file of a picture; b"" where there is none. ValueError for what is no picture at all."""
    if isinstance(cell, dict):
        cell = _of_struct(cell)
    if isinstance(cell, np.ndarray):
        return _of_array(cell)
    if cell is not None and not isinstance(cell, bytes):
        what = type(cell).__name__
        raise ValueError(f"the column 'image' holds {what}, not encoded bytes of pictures")
    return cell or b""


def _of_struct(cell: dict[str, Any]) -> Any:
    """The bytes of {bytes, path}, or what lies at the path."""
    if cell.get("bytes") is not None or not cell.get("path"):
        return cell.get("bytes")
    try:
        return uris.read_bytes(cell["path"], max_bytes=Options().max_bytes)
    except uris.SourceError:
        return b""


def _of_array(cell: np.ndarray) -> bytes:
    is_grey = cell.ndim == 3 and cell.shape[2] == 1
    is_picture = cell.ndim == 2 or (cell.ndim == 3 and cell.shape[2] in (1, 3))
    if cell.dtype != np.uint8 or not is_picture:
        what = f"arrays of {cell.dtype}, {cell.shape}"
        fix = "give encoded bytes, or (H, W, 3) or (H, W) uint8"
        raise ValueError(f"the column 'image' holds {what}: {fix}")
    return codec.encode(cell[:, :, 0] if is_grey else cell)
