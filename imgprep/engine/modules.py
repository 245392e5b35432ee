"""Where a module comes from."""

import os
import sys


def installed(module: str | None) -> bool:
    """Does the module come with Python, imgprep or an installed distribution (and not from the user's own files)?"""
    root = (module or "").partition(".")[0]
    if root == "__main__":  # whoever started Python: under `python -m pytest` its file is an installed one
        return False
    origin = getattr(sys.modules.get(root), "__file__", None) or ""
    if root in ("builtins", "imgprep") or "site-packages" in origin or "dist-packages" in origin:
        return True
    # The user may have a test.py or a code.py of their own.
    return root in sys.stdlib_module_names and (not origin or origin.startswith(os.path.dirname(os.__file__)))
