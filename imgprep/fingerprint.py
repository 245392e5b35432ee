"""What a result depends on, as a hash: so that an edited function recomputes, and an upgrade does not."""

import functools
import hashlib
import importlib.metadata
import inspect
import json
import sys
import types
from collections.abc import Callable
from typing import Any


class Unhashable(ValueError):
    """Something the function uses cannot be hashed, so its results are never reused."""


def digest(*values: Any) -> str:
    """Hex hash of plain values (JSON), the same on every machine.

    >>> digest({"b": 1, "a": [1, 2]}) == digest({"a": [1, 2], "b": 1})
    True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=_refuse)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _refuse(value: Any) -> Any:
    raise ValueError(f"{value!r} is no plain value (str, int, float, bool, None, list, dict)")


def function(fn: Callable) -> str:
    """Hash of a function or class: its code, closure, defaults, and the globals and helpers it uses.

    Comments, docstrings and line numbers do not count. What comes from an installed distribution counts by name and
    version; what comes from imgprep by its operator's own `version`, so that an upgrade of the package does not
    compute everything again. Raises Unhashable, naming the culprit.
    """
    return digest(_describe(fn, set()))


def _describe(value: Any, seen: set[int]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if id(value) in seen:
        return "seen"
    seen.add(id(value))
    if isinstance(value, types.ModuleType):
        return ["module", value.__name__, _version(value.__name__)]
    if isinstance(value, functools.partial):
        return ["partial", *(_describe(v, seen) for v in (value.func, list(value.args), value.keywords))]
    if isinstance(value, staticmethod | classmethod):
        return _describe(value.__func__, seen)
    if isinstance(value, types.MethodType):
        return ["method", _describe(value.__func__, seen), _describe(value.__self__, seen)]
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType) or (
        callable(value) and hasattr(value, "__module__") and hasattr(value, "__qualname__")
    ):
        name = [value.__module__, value.__qualname__]
        if installed(value.__module__):
            return ["operator", *name, getattr(value, "version", None) or _version(value.__module__)]
        if isinstance(value, types.FunctionType):
            return ["function", _code(value.__code__), *(_describe(v, seen) for v in _used(value))]
        if isinstance(value, type):
            members = {k: v for k, v in vars(value).items() if k not in _IGNORED}
            return ["class", [_describe(b, seen) for b in value.__bases__], _describe(members, seen)]
    if isinstance(value, property):
        return ["property", *(_describe(f, seen) for f in (value.fget, value.fset))]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(_describe(v, seen) for v in value)]
    if isinstance(value, dict):
        return ["dict", *([_describe(k, seen), _describe(v, seen)] for k, v in value.items())]
    return _hash(value)


_IGNORED = {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__", "__annotations__"}
_IGNORED |= {"__static_attributes__"}


def _used(fn: types.FunctionType) -> list[Any]:
    """Defaults, closure, and the globals whose names the code (and the code inside it) mentions."""
    closure = []
    for cell in fn.__closure__ or ():
        try:
            closure.append(cell.cell_contents)
        except ValueError:  # a variable that is assigned later
            closure.append(None)
    names = sorted(n for n in _names(fn.__code__) if n in fn.__globals__)
    used = [[n, fn.__globals__[n]] for n in names]
    return [list(fn.__defaults__ or ()), fn.__kwdefaults__ or {}, closure, used]


def _names(code: types.CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*(_names(c) for c in inner))


def _code(code: types.CodeType) -> list:
    has_doc = code.co_flags & 0x4000000 if sys.version_info >= (3, 13) else not code.co_name.startswith("<")
    consts = [None, *code.co_consts[1:]] if has_doc else code.co_consts
    consts = [
        _code(c) if isinstance(c, types.CodeType) else repr(sorted(c, key=repr) if isinstance(c, frozenset) else c)
        for c in consts
    ]
    version = sys.version_info[:2]  # bytecode differs between minor versions of Python
    return [version, code.co_code.hex(), consts, list(code.co_names), list(code.co_varnames)]


def installed(module: str | None) -> bool:
    """Does the module come with Python, imgprep or an installed distribution (and not from the user's own files)?"""
    root = (module or "").partition(".")[0]
    if root in ("builtins", "imgprep") or root in sys.stdlib_module_names:
        return root != "__main__"
    origin = getattr(sys.modules.get(root), "__file__", None) or ""
    return "site-packages" in origin or "dist-packages" in origin


def _version(module: str) -> str:
    root = module.partition(".")[0]
    if root == "imgprep" or root in sys.stdlib_module_names:
        return "1"
    try:
        return importlib.metadata.version(_distributions().get(root, [root])[0])
    except importlib.metadata.PackageNotFoundError:
        return "?"


@functools.cache
def _distributions() -> dict:
    return dict(importlib.metadata.packages_distributions())


def _hash(value: Any) -> str:
    from datasets.fingerprint import Hasher  # knows numpy, torch, regular expressions, datasets …

    try:
        return Hasher.hash(value)
    except Exception as e:
        raise Unhashable(f"{type(value).__name__} cannot be hashed ({type(e).__name__})") from None


def check_options(fn: Callable, options: dict[str, Any], columns: list[str]) -> list[str]:
    """Which named columns a function asks for; ValueError when an option is not one of its parameters."""
    try:
        call = fn.__call__ if isinstance(fn, type) else fn
        parameters = list(inspect.signature(call).parameters.values())[isinstance(fn, type) :]  # without self
    except (TypeError, ValueError):  # a builtin without a signature: Python will say
        return []
    where = getattr(fn, "__name__", type(fn).__name__)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not positional and not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        raise ValueError(f"{where} takes no picture: its first parameter is the image")
    first, known = (positional[0].name if positional else ""), {p.name for p in parameters}
    if not any(p.kind == p.VAR_KEYWORD for p in parameters):
        for option in options:
            if option not in known or option == first:
                import difflib

                near = difflib.get_close_matches(option, known - {first}, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                has = ", ".join(sorted(known - {first}))
                raise ValueError(f"{where} has no option {option!r}; it has: {has}{hint}")
    asked = []
    for p in parameters[1:]:
        if p.name in options or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue
        if p.name in columns:
            asked.append(p.name)
        elif p.default is p.empty:
            raise ValueError(f"{where} needs {p.name!r}: it is neither an option given nor a column of this dataset")
    return asked
