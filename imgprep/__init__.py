"""imgprep makes image datasets: `from imgprep import images, ocr` says where each thing lives."""

from typing import Any

__version__ = "0.1.0"


class RunStopped(RuntimeError):
    """Nearly everything failed alike, or more rows failed than `max_failed` allows. A command exits with 3."""


_LAZY = {"session": "engine", "close": "engine", "batch": "images"}


def __getattr__(name: str) -> Any:
    # Lazy, so that `from imgprep import ocr` starts no engine and `imgprep --help` answers at once.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"imgprep.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'imgprep' has no attribute {name!r}")
