"""Names and places of 0.1 that are no longer promised.

For one release they still answer, with a sentence that says what to call instead: as attributes of
the package (`imgprep.fetch`), and as modules (`from imgprep.publish import publish`).
"""

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Name -> where it stands now, in imgprep.
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
    "entities": "rows.entities",
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
    "measures": "stages.segmentation.measures",
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
    "rasters": "io.rasters",
    "reasons": "failures",
    "routes": "io.web.routes",
    "runner": "app.runner",
    "sample_server": "sample.server",
    "shards": "stages.publish.shards",
    "similar": "picture.similar",
    "slides": "io.rasters.slide",
    "specimen": "sample.slide",
    "stage": "resume.stage",
    "store": "io.stores",
    "tables": "rows.tables",
    "thumbnails": "display.pictures",
    "tiling": "stages.segmentation.block",
    "transfer": "io.web.transfer",
    "uris": "io.uris",
    "work": "resume.make",
}
# Functions and classes that the package itself had: name -> module.
MOVED_MEMBERS = {"batch": "stages.images", "Interrupted": "failures"}
# Where what to call is not where it stands: a promised name leads there.
INSTEAD = {
    "Interrupted": "catch KeyboardInterrupt, which it is",
    "batch": "call imgprep.images.batch",
    "entities": "call imgprep.labels.entities",
    "measures": "call imgprep.segmentation.evaluate",
    "rasters": "call imgprep.segmentation.rasters",
    "specimen": "call imgprep.sample.specimen",
}
WITHOUT_SUCCESSOR = {
    "croissant": "the Hub writes the Croissant metadata of every dataset that is published there",
}


def former(name: str, *, stacklevel: int) -> Any:
    """What a name of 0.1 stands for now, with a FutureWarning.

    ImportError where it went without a successor; AttributeError where there never was one.
    """
    if name in MOVED:
        _warn(name, f"imgprep.{MOVED[name]}", stacklevel + 1)
        return import_module(f"imgprep.{MOVED[name]}")
    if name in MOVED_MEMBERS:
        _warn(name, f"imgprep.{MOVED_MEMBERS[name]}.{name}", stacklevel + 1)
        return getattr(import_module(f"imgprep.{MOVED_MEMBERS[name]}"), name)
    if name in WITHOUT_SUCCESSOR:
        raise ImportError(f"there is no imgprep.{name} any more: {WITHOUT_SUCCESSOR[name]}")
    raise AttributeError(f"module 'imgprep' has no attribute {name!r}")


def _warn(name: str, place: str, stacklevel: int) -> None:
    instead = INSTEAD.get(name, f"it is {place} now")
    told = f"imgprep.{name} is no public name: {instead}"
    warnings.warn(told, FutureWarning, stacklevel=stacklevel + 1)


class FormerModules:
    """Finds `imgprep.publish` and the other modules that were files of the package once.

    It is asked after the finders of files, so a module that exists is never its business.
    """

    def __init__(self, contents: dict[str, str]):
        self.contents = contents

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != "imgprep" or name not in {*self.contents, *MOVED, *WITHOUT_SUCCESSOR}:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual one: importlib writes the spec into it, which must not happen to the real one."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        if name in self.contents:
            told = f"imgprep.{name} is no module any more: write `from imgprep import {name}`"
            warnings.warn(told, FutureWarning, stacklevel=2)
            found = import_module(f"imgprep.{self.contents[name]}")
        else:
            found = former(name, stacklevel=2)
        # importlib hands out what stands here after this call: one module, whatever it is called.
        sys.modules[module.__name__] = found
