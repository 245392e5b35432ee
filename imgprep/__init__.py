"""imgprep makes image datasets: `from imgprep import images, ocr` says where each thing lives."""

import sys
from importlib import import_module
from typing import Any

from imgprep.failures import RunStopped
from imgprep.former import FormerModules, former

__version__ = "0.1.0"
__all__ = ["RunStopped", "__version__"]

# The table of contents: name -> where it stands. `__init__.pyi` is the same for editors and type
# checkers. These names are what is promised; and they, not the places, are in the keys of results.
CONTENTS = {
    "images": "stages.images",
    "variants": "stages.variants",
    "film": "stages.film",
    "upload": "stages.upload",
    "batch_requests": "stages.batch_requests",
    "segmentation": "stages.segmentation",
    "pairs": "stages.pairs",
    "exports": "stages.exports",
    "tags": "stages.tags",
    "search": "stages.search",
    "publish": "stages.publish",
    "sources": "rows.sources",
    "splits": "rows.splits",
    "labels": "rows.labels",
    "annotations": "rows.annotations",
    "dataset": "dataset",
    "show": "display.show",
    "report": "display.report",
    "codec": "picture.codec",
    "geometry": "picture.geometry",
    "enhance": "picture.enhance",
    "ocr": "picture.ocr",
    "models": "models",
    "sample": "sample",
    "serve": "serve",
}
FUNCTIONS = {
    "session": "engine",
    "close": "engine",
    "resolve": "project",
    "resolve_input": "project",
}

# Last, so that what is a file of the package never comes here.
if not any(isinstance(finder, FormerModules) for finder in sys.meta_path):
    sys.meta_path.append(FormerModules(CONTENTS))  # type: ignore[arg-type]


def __getattr__(name: str) -> Any:
    # Lazy, so that `from imgprep import ocr` starts no engine and `imgprep --help` answers at once.
    if name in CONTENTS:
        return import_module(f"imgprep.{CONTENTS[name]}")
    if name in FUNCTIONS:
        return getattr(import_module(f"imgprep.{FUNCTIONS[name]}"), name)
    return former(name, stacklevel=2)
