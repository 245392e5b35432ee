"""imgprep makes image datasets: `from imgprep import images, ocr` says where each thing lives."""

from typing import Any

__version__ = "0.1.0"


class _Told:
    """An exception that is no fault in the code: a notebook shows its sentence, not forty lines of traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"{type(self).__name__}: {self}"]


class RunStopped(_Told, RuntimeError):
    """Nearly everything failed alike, or more rows failed than `max_failed` allows. A command exits with 3."""


class Interrupted(_Told, KeyboardInterrupt):
    """The stop button, or Ctrl-C, during a stage. What is done is kept."""


_LAZY = {"session": "engine", "close": "engine", "batch": "images"}


def __getattr__(name: str) -> Any:
    # Lazy, so that `from imgprep import ocr` starts no engine and `imgprep --help` answers at once.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"imgprep.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'imgprep' has no attribute {name!r}")
