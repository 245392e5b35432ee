"""What is kept of each block: an .npz of numbers and JSON, and mostly a TIFF beside it.

The .npz comes last and says that the piece is whole. Nothing in it is ever unpickled: whoever can
write into the folder of a dataset must not be able to run code with it.
"""

import io
import json
import zlib
from typing import Any

import numpy as np

from imgprep.dataset.files import PRIVATE, Folder
from imgprep.io import rasters
from imgprep.io.rasters import mosaic
from imgprep.stages.segmentation.scratch import local_file
from imgprep.tiles import components
from imgprep.tiles.windows import Box

TILES = f"{PRIVATE}/tiles"
NODATA = {"uint8": 255, "uint16": 65535}
# The keys of the JSON that stands for an array, and for what JSON has no word for.
ARRAY = "__array__"
PAIRS = "__pairs__"
TUPLE = "__tuple__"


def write_piece(
    folder: Folder,
    name: str,
    arrays: dict[str, np.ndarray],
    about: dict[str, Any],
    mask: np.ndarray | None = None,
) -> None:
    """arrays and about (plain values) as an .npz, the mask as a TIFF."""
    if mask is not None:
        nodata = NODATA[str(mask.dtype)]
        valid = int(np.count_nonzero(mask != nodata))
        foreground = int(np.count_nonzero(mask)) - (mask.size - valid)
        counted = {"dtype": str(mask.dtype), "valid": valid, "foreground": foreground}
        about = about | counted
        # Before the .npz, which says that the piece is whole.
        folder.put(f"{name}.tif", mosaic.tiff(mask, nodata))
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    sink = io.BytesIO()
    everything: dict[str, Any] = arrays | {"meta": text}
    np.savez(sink, **everything)
    folder.put(f"{name}.npz", sink.getvalue())


def read_piece(folder: Folder, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, about) of an .npz."""
    with np.load(_whole(folder, f"{name}.npz"), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    text = arrays.pop("meta")
    return arrays, json.loads(text.tobytes())


def about_piece(folder: Folder, name: str) -> dict[str, Any]:
    """What an .npz says, without its arrays."""
    with np.load(_whole(folder, f"{name}.npz"), allow_pickle=False) as file:
        return json.loads(file["meta"].tobytes())


def mask_of(folder: Folder, name: str) -> np.ndarray | None:
    """The pixels of a TIFF; None where there is none: nothing of the block could be read."""
    if folder.size(name) is None:
        return None
    with local_file(folder, name) as path, rasters.Raster(path) as part:
        return part.read()[..., 0]


def _whole(folder: Folder, name: str) -> Any:
    """What numpy reads; of a store in one request."""
    if not folder.remote:
        return folder.full(name)
    data = folder.get(name)
    if data is None:
        raise FileNotFoundError(folder.full(name))
    return io.BytesIO(data)


def put_ids(folder: Folder, name: str, ids: np.ndarray) -> None:
    with folder.create(lambda _: name) as sink:
        np.save(sink, ids, allow_pickle=False)


def ids_of(folder: Folder, name: str, rows: tuple[int, int]) -> np.ndarray:
    """What a block's labels are called in the whole picture; 0 for those that are left out."""
    start, stop = rows
    opened = folder.open(name)
    with open(opened, "rb") if isinstance(opened, str) else opened as file:
        np.lib.format.read_magic(file)
        _, _, dtype = np.lib.format.read_array_header_1_0(file)
        # The block's part alone: the ids of a huge picture do not fit into each worker.
        file.seek(start * dtype.itemsize, io.SEEK_CUR)
        ids = np.frombuffer(file.read((stop - start) * dtype.itemsize), dtype)
    return np.concatenate([np.zeros(1, np.int32), ids])


def no_regions(block: Box, *, both: bool) -> dict[str, np.ndarray]:
    """The regions and edges of a block that has no piece: its process died."""
    nothing = np.zeros((1 + both, 1), np.int64)
    empty = components.regions(np.zeros((1, 1), np.int32), np.zeros((1, 1)), 0, 0, 1)
    width, height = block[2:]
    sides = {"top": width, "bottom": width, "left": height, "right": height}
    for name, length in sides.items():
        empty[name] = np.repeat(nothing, length, axis=1)
    return empty


# What an operator's first pass found, in numbers and JSON ----------------------------------------


def packed_stats(value: Any) -> dict[str, np.ndarray]:
    """Numbers, text, arrays, and lists, tuples and dicts of these, as arrays for an .npz.

    ValueError for anything else.
    """
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_as_json(value, arrays)).encode()
    return arrays | {"stats": np.frombuffer(text, np.uint8)}


def unpacked_stats(arrays: dict[str, np.ndarray]) -> Any:
    """What `packed` was given."""
    return _restored(json.loads(arrays["stats"].tobytes()), arrays)


def _as_json(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        name = f"stats{len(arrays)}"
        # Histograms are mostly zeros.
        raw = zlib.compress(np.ascontiguousarray(value).tobytes(), 1)
        arrays[name] = np.frombuffer(raw, np.uint8)
        return {ARRAY: name, "dtype": value.dtype.str, "shape": list(value.shape)}
    if type(value) is list:
        return [_as_json(one, arrays) for one in value]
    if type(value) is tuple:
        return {TUPLE: [_as_json(one, arrays) for one in value]}
    if type(value) is dict:
        pairs = [[_as_json(key, arrays), _as_json(one, arrays)] for key, one in value.items()]
        return {PAIRS: pairs}
    kinds = "numbers, text, arrays, and lists, tuples and dicts of these"
    raise ValueError(f"stats gave {type(value).__name__}: what is kept of a tile is {kinds}")


def _restored(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_restored(one, arrays) for one in value]
    if not isinstance(value, dict):
        return value
    if ARRAY in value:
        raw = zlib.decompress(arrays[value[ARRAY]].tobytes())
        return np.frombuffer(raw, value["dtype"]).reshape(value["shape"]).copy()
    if TUPLE in value:
        return tuple(_restored(one, arrays) for one in value[TUPLE])
    return {_restored(key, arrays): _restored(one, arrays) for key, one in value[PAIRS]}
