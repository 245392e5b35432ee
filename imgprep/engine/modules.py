"""What comes from where; and how the code of a notebook gets into another process."""

import os
import sys
from types import ModuleType
from typing import Any


def installed(module: str | None) -> bool:
    """Does the module come with Python, imgprep or an installed distribution?

    What is not installed is the user's own file.
    """
    root = (module or "").partition(".")[0]
    if root == "__main__":  # under `python -m pytest` its file is an installed one
        return False
    origin = getattr(sys.modules.get(root), "__file__", None) or ""
    if root in ("builtins", "imgprep") or "site-packages" in origin or "dist-packages" in origin:
        return True
    if root not in sys.stdlib_module_names:
        return False
    # The user may have a test.py or a code.py of their own.
    return not origin or origin.startswith(os.path.dirname(os.__file__))


def dumps(value: Any) -> bytes:
    """Pickle a value with the user's own modules in it, as they are now.

    A worker that lives on would keep the code that it has imported once.
    """
    import cloudpickle

    own = _users_modules()
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = cloudpickle.dumps(value)
        return pickled
    except Exception as e:
        told = f"the function cannot be sent to the workers ({e})"
        fix = "make what it uses inside it, or in the __init__ of a class"
        raise ValueError(f"{told}: {fix}") from e
    finally:
        # Registered for this call only: else all that the
        # user pickles later would carry whole modules.
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _users_modules() -> list[ModuleType]:
    found = []
    # By their roots: there are thousands of modules, of a hundred distributions.
    known: dict[str, bool] = {}
    # A list, because an import in another thread changes the dict while it is walked.
    # A module stands there under other names too (os.path): one of them is enough.
    for name, module in list(sys.modules.items()):
        root = name.partition(".")[0]
        if root not in known:
            known[root] = installed(root)
        if known[root] or name == "__main__":
            continue
        is_named_so = getattr(module, "__name__", "") == name
        if is_named_so and getattr(module, "__file__", None):
            found.append(module)
    return found
