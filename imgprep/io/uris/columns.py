"""Sources as columns of a table: a million of them are looked at in C++, not one by one.

Apart from `places`: a server and its workers read single places, and have no use for Arrow.
"""

import os

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.io.uris import fences
from imgprep.io.uris.places import OUTSIDE, RAW_PATH, SCHEME, identity, inside_folder, path_of
from imgprep.io.web import addresses
from imgprep.redaction import SIGNED

TRACE_RANGES = ((0x2000, 0x200F), (0x2028, 0x202F), (0x2060, 0x2064))
# What copying leaves at URLs and paths: spaces of all kinds, zero-width ones, marks of direction
# and of byte order.
TRACES = " \t\n\r\x0b\x0c\x00\x85\xa0\xad\u1680\u205f\u3000\ufeff" + "".join(
    chr(code) for first, last in TRACE_RANGES for code in range(first, last + 1)
)
# Where a path is more than names with a slash between.
ODD = r"^/|//|(^|/)\.{1,2}(/|$)"


def locate(cells: pa.ChunkedArray, root: str) -> tuple[pa.Array, pa.Array]:
    """(sources, names) of the cells of a column.

    Paths are put under root, all else stays as it is, null becomes "". A name does not change when
    a folder moves or a signature ends: a path from root on, a URL without its secrets.
    """
    # As columns: a table of a million URLs goes through here before anything is done.
    text = pc.fill_null(cells.cast(pa.string()), "").combine_chunks()
    cells = pc.utf8_trim(text, TRACES)
    is_path = pc.invert(pc.match_substring_regex(cells, f"{SCHEME}|^//|^$"))
    source = _fenced(_placed(cells, is_path, root), root)
    start = root.rstrip("/") + "/"
    is_inside = pc.starts_with(source, start)
    name = source
    if pc.any(is_inside).as_py():  # no copy of a million URLs
        name = pc.if_else(is_inside, pc.utf8_slice_codeunits(source, len(start)), source)
    may_be_secret = pc.and_(pc.invert(is_path), _may_sign(name))
    urls = [addresses.url_identity(url) for url in name.filter(may_be_secret).to_pylist()]
    return source, _replaced_cells(name, may_be_secret, urls)


def _placed(cells: pa.Array, is_path: pa.Array, root: str) -> pa.Array:
    """The cells; the paths among them put under root."""
    if not pc.any(is_path).as_py():
        return cells
    start = root.rstrip("/") + "/"
    source = pc.if_else(is_path, pc.binary_join_element_wise(start, cells, ""), cells)
    is_odd = pc.and_(is_path, pc.match_substring_regex(cells, ODD))
    placed = [inside_folder(cell, root) for cell in cells.filter(is_odd).to_pylist()]
    return _replaced_cells(source, is_odd, placed)


def _fenced(source: pa.Array, root: str) -> pa.Array:
    """The sources; what leads out of root by a link, or in a form of our own, is outside."""
    if "://" in root:
        return source
    ours = pc.match_substring_regex(source, rf"(?i)^({RAW_PATH}|hf\+row:)")
    within = []
    for cell in source.filter(ours).to_pylist():
        is_raw = cell.startswith(RAW_PATH)
        path = path_of(cell) if is_raw else fences.dataset_of(cell)
        within.append(cell if fences.is_in(path, os.path.realpath(root)) else OUTSIDE + cell)
    source = _replaced_cells(source, ours, within)
    start = root.rstrip("/") + "/"
    paths = source.filter(pc.starts_with(source, start)).to_pylist()
    out = fences.links_out(paths, root)
    if not out:
        return source
    led = pc.is_in(source, pa.array(sorted(out), pa.string()))
    cells = [OUTSIDE + cell.removeprefix(start) for cell in source.filter(led).to_pylist()]
    return _replaced_cells(source, led, cells)


def _replaced_cells(column: pa.Array, mask: pa.Array, values: list[str]) -> pa.Array:
    if not values:  # the usual case, and a copy of a million cells
        return column
    return pc.replace_with_mask(column, mask, pa.array(values, pa.string()))


def identities(sources: pa.Array) -> list[str]:
    """`identity` of each; null is "". URLs without a secret, as they are, cost next to nothing."""
    text = pc.fill_null(sources.cast(pa.string()), "")
    is_web = pc.or_(pc.starts_with(text, "http://"), pc.starts_with(text, "https://"))
    is_itself = pc.and_not(is_web, _may_sign(text))
    found: list[str] = text.to_pylist()
    for row in pc.indices_nonzero(pc.invert(is_itself)).to_pylist():
        found[row] = identity(found[row])
    return found


def _may_sign(text: pa.Array) -> pa.Array:
    """Which of these would be another text without user, password and signature: a few more."""
    return pc.match_substring_regex(text, f"@|{SIGNED.pattern}", ignore_case=True)
