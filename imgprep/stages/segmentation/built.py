"""A class as an operator: built once in each process that needs it."""

import threading
from typing import Any

_built_objects: dict[type, Any] = {}
_making = threading.RLock()


class Built:
    """Calls an object of the class; its attributes are the operator's.

    What travels to a worker, and what a result depends on, is the class, not the object: so a
    model that its `__init__` loads is loaded where it is used. Raises ValueError where it cannot
    be built without arguments, or what is built cannot be called.
    """

    once = True
    version = 1

    def __init__(self, cls: type):
        self.cls = cls
        built = self._object()
        if not callable(built):
            told = "an operator is called with a tile: give it a __call__"
            raise ValueError(f"{cls.__name__} objects cannot be called: {told}")

    @property
    def __name__(self) -> str:
        return self.cls.__name__

    def _object(self) -> Any:
        # Reentrant: building one class may ask for another.
        with _making:
            if self.cls not in _built_objects:
                _built_objects[self.cls] = self._build()
            return _built_objects[self.cls]

    def _build(self) -> Any:
        try:
            return self.cls()
        except TypeError as e:
            fix = f"give {self.cls.__name__}(…) instead of {self.cls.__name__}"
            raise ValueError(f"{self.cls.__name__} cannot be built ({e}): {fix}") from e

    def __getattr__(self, name: str) -> Any:
        # Of an object that is being unpickled there is nothing to look into.
        if name.startswith("__") or "cls" not in vars(self):
            raise AttributeError(name)
        return getattr(self._object(), name)

    def __call__(self, *given: Any) -> Any:
        return self._object()(*given)
