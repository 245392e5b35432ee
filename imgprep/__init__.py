"""imgprep makes image datasets: `from imgprep import images, ocr` says where each thing lives."""

import warnings
from importlib import import_module
from typing import Any

from imgprep.failures import Interrupted, RunStopped

__version__ = "0.1.0"
__all__ = ["Interrupted", "RunStopped", "__version__"]

# The table of contents: name -> where it stands. `__init__.pyi` is the same for editors and type
# checkers. These names are what is promised; and they, not the places, are in the keys of results.
CONTENTS = {
    "images": "stages.images",
    "variants": "stages.variants",
    "film": "stages.film",
    "upload": "stages.upload",
    "batch_requests": "stages.batch_requests",
    "segmentation": "stages.segmentation",
    "measures": "stages.segmentation.measures",
    "pairs": "stages.pairs",
    "exports": "stages.exports",
    "tags": "stages.tags",
    "search": "stages.search",
    "publish": "stages.publish",
    "sources": "rows.sources",
    "splits": "rows.splits",
    "labels": "rows.labels",
    "entities": "rows.entities",
    "annotations": "rows.annotations",
    "dataset": "dataset",
    "show": "display.show",
    "report": "display.report",
    "codec": "picture.codec",
    "geometry": "picture.geometry",
    "enhance": "picture.enhance",
    "ocr": "picture.ocr",
    "models": "models",
    "rasters": "io.rasters",
    "sample": "sample",
    "specimen": "sample.slide",
}
FUNCTIONS = {
    "session": "engine",
    "close": "engine",
    "batch": "stages.images",
    "resolve": "project",
    "resolve_input": "project",
}

# Where names of 0.1 went. For one release they still answer, with a sentence.
MOVED = {
    "addresses": "io.web.addresses",
    "answers": "stages.segmentation.answers",
    "augment": "picture.augment",
    "blending": "tiles.windows",
    "budget": "picture.budget",
    "card": "dataset.card",
    "checks": "stages.publish.checks",
    "cli": "app.cli",
    "colour": "picture.colour",
    "components": "tiles.components",
    "container": "picture.header",
    "facts": "stages.publish.facts",
    "fetch": "io.web.fetch",
    "findings": "display.findings",
    "fingerprint": "resume.fingerprint",
    "folder": "dataset.files",
    "gather": "resume.gather",
    "hub": "io.hub",
    "instances": "tiles.instances",
    "inventory": "app.inventory",
    "loaded": "stages.publish.loaded",
    "location": "picture.location",
    "metadata": "picture.metadata",
    "mosaic": "io.rasters.mosaic",
    "nets": "models.nets",
    "operators": "stages.segmentation",
    "optout": "io.web.optout",
    "overlays": "stages.segmentation.overlay",
    "packshot": "sample.packshot",
    "parameters": "app.parameters",
    "parts": "resume.parts",
    "passes": "stages.segmentation.passes",
    "pictures": "stages.segmentation.headers",
    "pipeline": "app.pipeline",
    "politeness": "io.web.politeness",
    "polygons": "stages.segmentation.polygons",
    "progress": "engine.progress",
    "reasons": "failures",
    "routes": "io.web.routes",
    "runner": "app.runner",
    "sample_server": "sample.server",
    "shards": "stages.publish.shards",
    "similar": "picture.similar",
    "slides": "io.rasters.slide",
    "stage": "resume.stage",
    "store": "io.stores",
    "tables": "rows.tables",
    "thumbnails": "display.pictures",
    "tiling": "stages.segmentation.block",
    "transfer": "io.web.transfer",
    "uris": "io.uris",
    "work": "resume.make",
}

GONE = {
    "croissant": "the Hub writes the Croissant metadata of every dataset that is published there",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `from imgprep import ocr` starts no engine and `imgprep --help` answers at once.
    if name in CONTENTS:
        return import_module(f"imgprep.{CONTENTS[name]}")
    if name in FUNCTIONS:
        return getattr(import_module(f"imgprep.{FUNCTIONS[name]}"), name)
    if name in MOVED:
        warnings.warn(
            f"imgprep.{name} is no public name: it is imgprep.{MOVED[name]} now",
            FutureWarning,
            stacklevel=2,
        )
        return import_module(f"imgprep.{MOVED[name]}")
    if name in GONE:
        raise ImportError(f"there is no imgprep.{name} any more: {GONE[name]}")
    raise AttributeError(f"module 'imgprep' has no attribute {name!r}")
