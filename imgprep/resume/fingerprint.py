"""What a result depends on, as a hash: so that an edited function recomputes, and an upgrade does not."""

import contextlib
import difflib
import dis
import functools
import importlib
import importlib.metadata
import inspect
import io
import json
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from imgprep import CONTENTS
from imgprep.engine.modules import installed
from imgprep.hashing import digest
from imgprep.resume.pins import edits


class Unhashable(ValueError):
    """Something the function uses cannot be hashed, so its results are never reused."""


def function(fn: Callable) -> str:
    """Hash of a function, method, class or object: its code, closure, defaults, and the globals and helpers it uses.

    Comments, docstrings and line numbers do not count. What comes from an installed distribution counts by name and
    version; what comes from imgprep by its operator's own `version`, so that an upgrade of the package does not
    compute everything again. Raises Unhashable, naming the culprit.
    """
    return digest(_describe(fn, {}))


def _describe(value: Any, seen: dict[Any, Any], attributes: frozenset[str] = frozenset()) -> Any:
    """The value as plain lists and text. attributes: what the code that uses a module takes from it."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, tuple) and type(value) is tuple:
        return ["tuple", *(_describe(v, seen) for v in value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(json.dumps(_describe(v, dict(seen))) for v in value)]
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType) and installed(value.__module__):
        version = getattr(value, "version", None) or _version(value.__module__)
        module, name = _public(value.__module__), value.__qualname__
        return ["operator", module, name, version, *edits(value, f"{module}.{name}", version)]
    # The object is kept, or the next one could get its id. Of a module each user sees another part.
    mark = (id(value), attributes if isinstance(value, types.ModuleType) else None)
    if mark in seen:
        return ["seen", seen[mark][0]]
    seen[mark] = len(seen), value
    if isinstance(value, types.ModuleType):
        name, version = value.__name__, _version(value.__name__)
        if installed(name) and name.partition(".")[0] != "imgprep":
            return ["module", name, version]
        # The names of imgprep itself are imported when they are used.
        there = vars(value).keys() | (CONTENTS if name == "imgprep" else {})
        used = sorted(attributes & there)
        return ["module", _public(name), *([n, _describe(getattr(value, n), seen, attributes)] for n in used)]
    if isinstance(value, types.FunctionType):
        return ["function", _code(value.__code__), *_used(value, seen)]
    if isinstance(value, type):
        members = {k: v for k, v in vars(value).items() if k not in _IGNORED}
        return ["class", [_describe(b, seen) for b in value.__bases__], _describe(members, seen)]
    if type(value) is list:
        return ["list", *(_describe(v, seen) for v in value)]
    if type(value) in (dict, types.MappingProxyType):
        return ["dict", *([_describe(k, seen), _describe(v, seen)] for k, v in value.items())]
    for kind, parts in _PARTS.items():
        if isinstance(value, kind):
            return [kind.__name__, *(_describe(getattr(value, part), seen) for part in parts)]
    if callable(getattr(value, "__wrapped__", None)):  # functools.lru_cache and its like
        return ["wrapped", _describe(type(value), seen), _describe(value.__wrapped__, seen)]
    return _object(value, seen)


def _public(module: str) -> str:
    """A module of ours by the name that people import, so that a key does not depend on where it stands."""
    package, _, place = module.partition(".")
    if package != "imgprep":
        return module
    return f"imgprep.{PUBLIC.get(place, place)}"


# Places -> the names in keys. What has no public name keeps the one it had before the package had folders.
PUBLIC = {place: name for name, place in CONTENTS.items()} | {
    "models.nets": "nets",
    "picture.augment": "augment",
    "picture.budget": "budget",
    "picture.colour": "colour",
    "picture.header": "container",
    "picture.similar": "similar",
    "models.segmenters": "models",
    "stages.segmentation.chain": "operators",
    "stages.segmentation.filters": "operators",
    "stages.segmentation.threshold": "operators",
    "stages.segmentation.overlay": "overlays",
    "tiles.components": "components",
    "tiles.instances": "instances",
    "tiles.windows": "blending",
}


_IGNORED = {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__", "__annotations__"}
_IGNORED |= {"__static_attributes__", "__annotate_func__", "__annotate__", "__annotations_cache__", "_abc_impl"}
_IGNORED |= {"__dataclass_fields__", "__dataclass_params__"}  # they stand in the generated __init__ too
_PARTS = {
    functools.partial: ("func", "args", "keywords"),
    functools.cached_property: ("func",),
    types.MethodType: ("__func__", "__self__"),
    types.MemberDescriptorType: ("__name__",),
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
}


def _object(value: Any, seen: dict[Any, Any]) -> Any:
    """An object by its class and state, where that is how it pickles; else as `datasets` hashes it."""
    kind = type(value)
    own = not installed(kind.__module__)
    if own or (kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__):
        try:
            _, args, *state = value.__reduce_ex__(4)
        except Exception:  # it does not pickle; `datasets` may know it all the same
            return _hash(value)
        state = [list(s) if isinstance(s, Iterator) else s for s in state]
        return ["object", _describe(kind, seen), _describe(args, seen), _describe(state, seen)]
    return _hash(value)


def _used(fn: types.FunctionType, seen: dict[Any, Any]) -> list[Any]:
    """Defaults, attributes, closure, and the globals and modules that the code (and the code inside it) uses."""
    names, attributes, imported = _names(fn.__code__)
    cells = []
    for cell in fn.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # a variable that is assigned later
            cells.append(None)
    taken = {n: fn.__globals__[n] for n in sorted(names) if n in fn.__globals__}
    for name in sorted(imported):  # inside the function
        with contextlib.suppress(Exception):
            taken[f"import {name}"] = importlib.import_module(name)
    attributes = frozenset(attributes)
    own = [fn.__defaults__, fn.__kwdefaults__, vars(fn)]
    used = [*cells, *(v for pair in taken.items() for v in pair)]
    return [*(_describe(v, seen) for v in own), *(_describe(v, seen, attributes) for v in used)]


def _names(code: types.CodeType) -> tuple[set[str], set[str], set[str]]:
    """The globals that the code reads, the attributes it takes of anything, the modules it imports."""
    names, attributes, imported = set(), set(), set()
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD_") and ("GLOBAL" in step.opname or "NAME" in step.opname):
            names.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            imported.add(step.argval)
            attributes.update(step.argval.split("."))
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "LOAD_SUPER_ATTR"):
            attributes.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            for mine, more in zip((names, attributes, imported), _names(inner), strict=True):
                mine |= more
    return names, attributes, imported


def _code(code: types.CodeType) -> list:
    has_doc = code.co_flags & 0x4000000 if sys.version_info >= (3, 13) else not code.co_name.startswith("<")
    consts = [None, *code.co_consts[1:]] if has_doc else code.co_consts
    consts = [
        _code(c) if isinstance(c, types.CodeType) else repr(sorted(c, key=repr) if isinstance(c, frozenset) else c)
        for c in consts
    ]
    version = sys.version_info[:2]  # bytecode differs between minor versions of Python
    takes = [code.co_argcount, code.co_kwonlyargcount, code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)]
    body = [code.co_code.hex(), code.co_exceptiontable.hex(), consts, list(code.co_names), list(code.co_varnames)]
    return [version, takes, *body]


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

    if isinstance(value, io.IOBase):  # dill would take its name and position for it
        raise Unhashable(f"{type(value).__name__} cannot be hashed (an open file)")
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
        check_known(where, options, sorted(known - {first}))
    asked = []
    for p in parameters[1:]:
        if p.name in options or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue
        if p.name in columns:
            asked.append(p.name)
        elif p.default is p.empty:
            raise ValueError(f"{where} needs {p.name!r}: it is neither an option given nor a column of this dataset")
    return asked


def check_known(where: str, options: dict[str, Any], known: list[str]) -> None:
    """ValueError when one of the options is none of these."""
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where} has no option {option!r}; it has: {', '.join(known)}{hint}")
