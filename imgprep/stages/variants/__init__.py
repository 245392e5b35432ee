"""From each picture the original, a version for vision models, a thumbnail, and what other sizes
are named."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgprep.stages.variants.sizes import Size
    from imgprep.stages.variants.variants import Variants
    from imgprep.stages.variants.verb import build

__all__ = ["Size", "Variants", "build"]

# No module has a function's name: imported, `build.py` would stand where `build` is looked for.
HOMES = {"Size": "sizes", "Variants": "variants", "build": "verb"}


def __getattr__(name: str) -> Any:
    # Lazy, because a worker comes through here to find `Variants`. The verb would bring tables,
    # plan and commit along: a seventh of a second of each worker's CPU, and it uses none of them.
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    # What completes a name, and what writes the reference, asks here: neither knows `__getattr__`.
    return sorted({*globals(), *HOMES})
