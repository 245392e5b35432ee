"""What a row's source says, and the bytes behind it where that is no http URL.

`places` reads sources, `fences` keeps them in their folder, `bodies` gives the bytes of paths and
objects (`files`: regular ones only), `dataset_rows` those of rows of Hugging Face datasets.
`columns` reads whole columns of sources.
"""

from imgprep.io.uris.bodies import read_bytes
from imgprep.io.uris.dataset_rows import hf_rows, open_splits
from imgprep.io.uris.places import (
    OUTSIDE,
    RAW_PATH,
    SCHEME,
    STORES,
    SourceError,
    identity,
    inside_folder,
    path_of,
    printable,
    scheme,
    source_of,
)

__all__ = [
    "OUTSIDE",
    "RAW_PATH",
    "SCHEME",
    "STORES",
    "SourceError",
    "hf_rows",
    "identity",
    "inside_folder",
    "open_splits",
    "path_of",
    "printable",
    "read_bytes",
    "scheme",
    "source_of",
]
