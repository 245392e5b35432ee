"""The dataset folder: Parquet files that `datasets.load_dataset(folder)` opens, and the books kept beside them.

The card (README.md) lists every data file, so a reader sees one whole version. `.imgprep/manifest.jsonl` holds the
same list with sizes and hashes, `.imgprep/index/` says which input row stands in which file. Nothing in them depends
on time, host, engine or worker count.
"""

from imgprep.dataset.counts import count, summary, words
from imgprep.dataset.dataset import Dataset, exists
from imgprep.dataset.dataset import open_dataset as open  # reads as dataset.open(folder)
from imgprep.dataset.index import INDEX, KEY, expand
from imgprep.dataset.manifest import MANIFEST
from imgprep.dataset.parquet import Reader, Writer, sizes
from imgprep.dataset.schema import COLUMNS, IMAGE, schema_of, with_original

__all__ = [
    "COLUMNS",
    "IMAGE",
    "INDEX",
    "KEY",
    "MANIFEST",
    "Dataset",
    "Reader",
    "Writer",
    "count",
    "exists",
    "expand",
    "open",
    "schema_of",
    "sizes",
    "summary",
    "with_original",
    "words",
]
