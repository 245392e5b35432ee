"""What a result depends on, as a hash: so that an edited function recomputes,
and an upgrade does not.
"""

import contextlib
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
from dataclasses import dataclass, field
from typing import Any

from imgprep import CONTENTS
from imgprep.engine.modules import installed
from imgprep.hashing import digest
from imgprep.resume.pins import edits

HAS_DOCSTRING = 0x4000000  # a flag of code objects, from Python 3.13 on
Seen = dict[Any, tuple[int, Any]]


class Unhashable(ValueError):
    """Something the function uses cannot be hashed, so its results are never reused."""


def function(fn: Callable[..., Any]) -> str:
    """Hash of a function, method, class or object: its code, closure,
    defaults, and the globals and helpers it uses.

    Comments, docstrings and line numbers do not count. What comes from an installed distribution
    counts by name and version; what comes from imgprep by its operator's own `version`, so that an
    upgrade of the package does not compute everything again. Raises Unhashable, naming the culprit.
    """
    return digest(_describe(fn, {}))


def _describe(value: Any, seen: Seen, attributes: frozenset[str] = frozenset()) -> Any:
    """The value as plain lists and text.

    Attributes: what the code that uses a module takes from it.
    """
    # By repr: 1, 1.0 and True are equal to Python, and compute other things.
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if type(value) is tuple:
        return ["tuple", *(_describe(v, seen) for v in value)]
    # Each with its own `seen`: an element must not look other because of which came before it.
    if isinstance(value, set | frozenset):
        return ["set", *sorted(json.dumps(_describe(v, dict(seen))) for v in value)]
    is_code = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType)
    if is_code and installed(value.__module__):
        return _operator(value)
    # The object is kept, or the next one could get its id. Of a module each user sees another part.
    mark = (id(value), attributes if isinstance(value, types.ModuleType) else None)
    if mark in seen:
        return ["seen", seen[mark][0]]
    seen[mark] = len(seen), value
    if isinstance(value, types.ModuleType):
        return _module(value, seen, attributes)
    if isinstance(value, types.FunctionType):
        return ["function", _code(value.__code__), *_used(value, seen)]
    if isinstance(value, type):
        members = {k: v for k, v in vars(value).items() if k not in _IGNORED}
        return ["class", [_describe(b, seen) for b in value.__bases__], _describe(members, seen)]
    if type(value) is list:
        return ["list", *(_describe(v, seen) for v in value)]
    if type(value) in (dict, types.MappingProxyType):
        return ["dict", *([_describe(k, seen), _describe(v, seen)] for k, v in value.items())]
    return _of_parts(value, seen)


def _operator(value: Any) -> list[Any]:
    """What comes with Python, a distribution or imgprep: its name and version."""
    version = getattr(value, "version", None) or _version(value.__module__)
    module, name = _public(value.__module__), value.__qualname__
    return ["operator", module, name, version, *edits(value, f"{module}.{name}", version)]


def _module(value: types.ModuleType, seen: Seen, attributes: frozenset[str]) -> list[Any]:
    """A module of the user's, or ours: those of its names that are used."""
    name = value.__name__
    if installed(name) and name.partition(".")[0] != "imgprep":
        return ["module", name, _version(name)]
    # The names of imgprep itself are imported when they are used.
    there = vars(value).keys() | (CONTENTS if name == "imgprep" else {})
    used = sorted(attributes & there)
    members = [[n, _describe(getattr(value, n), seen, attributes)] for n in used]
    return ["module", _public(name), *members]


def _public(module: str) -> str:
    """A module of ours by the name that people import,
    so that a key does not depend on where it stands.
    """
    package, _, place = module.partition(".")
    if package != "imgprep":
        return module
    return f"imgprep.{PUBLIC.get(place, place)}"


# Places -> the names in keys. What has no public name keeps the one it had before the package had
# folders.
PUBLIC = {place: name for name, place in CONTENTS.items()} | {
    "io.rasters": "rasters",
    "models.nets": "nets",
    "picture.augment": "augment",
    "picture.budget": "budget",
    "picture.colour": "colour",
    "picture.damage": "container",
    "picture.header": "container",
    "picture.similar": "similar",
    "models.detectors": "models",
    "models.enhancers": "models",
    "models.segmenters": "models",
    "rows.entities": "entities",
    "sample.slide": "specimen",
    "stages.segmentation.chain": "operators",
    "stages.segmentation.filters": "operators",
    "stages.segmentation.measures": "measures",
    "stages.segmentation.threshold": "operators",
    "stages.segmentation.overlay": "overlays",
    "tiles.components": "components",
    "tiles.instances": "instances",
    "tiles.windows": "blending",
}

_IGNORED = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__qualname__",
    "__firstlineno__",
    "__annotations__",
    "__static_attributes__",
    "__annotate_func__",
    "__annotate__",
    "__annotations_cache__",
    "_abc_impl",
    "__dataclass_fields__",  # they stand in the generated __init__ too
    "__dataclass_params__",
}
_PARTS: dict[type, tuple[str, ...]] = {
    functools.partial: ("func", "args", "keywords"),
    functools.cached_property: ("func",),
    types.MethodType: ("__func__", "__self__"),
    types.MemberDescriptorType: ("__name__",),
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
}


def _of_parts(value: Any, seen: Seen) -> Any:
    """A partial, a method and their like by what they hold; else an object."""
    for kind, parts in _PARTS.items():
        if isinstance(value, kind):
            return [kind.__name__, *(_describe(getattr(value, part), seen) for part in parts)]
    wrapped = getattr(value, "__wrapped__", None)
    if callable(wrapped):  # functools.lru_cache and its like
        return ["wrapped", _describe(type(value), seen), _describe(wrapped, seen)]
    return _object(value, seen)


def _object(value: Any, seen: Seen) -> Any:
    """An object by its class and state, where that is how it pickles;
    else as `datasets` hashes it.
    """
    kind: Any = type(value)
    plain: Any = object
    is_plain = (kind.__reduce_ex__, kind.__reduce__) == (plain.__reduce_ex__, plain.__reduce__)
    # What an installed class says about its own pickling is
    # not ours to take apart: numpy's arrays, torch's modules.
    if installed(kind.__module__) and not is_plain:
        return _hash(value)
    try:
        _, args, *state = value.__reduce_ex__(4)
    except Exception:  # it does not pickle; `datasets` may know it all the same
        return _hash(value)
    # An iterator can be read once; of a list the key is the same each time.
    state = [list(s) if isinstance(s, Iterator) else s for s in state]
    return ["object", _describe(kind, seen), _describe(args, seen), _describe(state, seen)]


def _used(fn: types.FunctionType, seen: Seen) -> list[Any]:
    """Defaults, attributes, closure, and the globals and modules that
    the code (and the code inside it) uses.
    """
    names = _names(fn.__code__)
    used = [_held(cell) for cell in fn.__closure__ or ()]
    for name in sorted(names.read & fn.__globals__.keys()):
        used += [name, fn.__globals__[name]]
    for name in sorted(names.imported):  # inside the function
        # A module that is missing here cannot be used by
        # the function either, and it will say so itself.
        with contextlib.suppress(Exception):
            module = importlib.import_module(name)
            used += [f"import {name}", module]
    attributes = frozenset(names.attributes)
    # With the attributes: a function may keep its table on itself.
    own = [fn.__defaults__, fn.__kwdefaults__, vars(fn)]
    return [*(_describe(v, seen) for v in own), *(_describe(v, seen, attributes) for v in used)]


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is assigned later
        return None


@dataclass
class _Names:
    """The globals that some code reads, the attributes it takes of anything,
    the modules it imports.
    """

    read: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)


def _names(code: types.CodeType) -> _Names:
    """Those of the code and the code inside it."""
    # What the bytecode names, rather than the source: a lambda or a cell of a notebook has none.
    found = _Names()
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD_") and ("GLOBAL" in step.opname or "NAME" in step.opname):
            found.read.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            found.imported.add(step.argval)
            # `import a.b` binds a, and the code then takes b from it.
            found.attributes.update(step.argval.split("."))
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "LOAD_SUPER_ATTR"):
            found.attributes.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            more = _names(inner)
            found.read |= more.read
            found.attributes |= more.attributes
            found.imported |= more.imported
    return found


def _code(code: types.CodeType) -> list[Any]:
    """A code object without its docstring, names of files and numbers of lines."""
    if sys.version_info >= (3, 13):
        has_doc = bool(code.co_flags & HAS_DOCSTRING)
    else:
        has_doc = not code.co_name.startswith("<")
    consts = [None, *code.co_consts[1:]] if has_doc else code.co_consts
    version = sys.version_info[:2]  # bytecode differs between minor versions of Python
    flags = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return [
        version,
        [code.co_argcount, code.co_kwonlyargcount, flags],
        code.co_code.hex(),
        code.co_exceptiontable.hex(),
        [_const(c) for c in consts],
        list(code.co_names),
        list(code.co_varnames),
    ]


def _const(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    # The order of a frozenset differs from process to process.
    return repr(sorted(value, key=repr)) if isinstance(value, frozenset) else repr(value)


def _version(module: str) -> str:
    root = module.partition(".")[0]
    if root == "imgprep" or root in sys.stdlib_module_names:
        return "1"
    try:
        return importlib.metadata.version(_distributions().get(root, [root])[0])
    except importlib.metadata.PackageNotFoundError:
        return "?"


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _hash(value: Any) -> str:
    from datasets.fingerprint import Hasher  # knows numpy, torch, regular expressions, datasets …

    if isinstance(value, io.IOBase):  # dill would take its name and position for it
        raise Unhashable(f"{type(value).__name__} cannot be hashed (an open file)")
    try:
        return str(Hasher.hash(value))
    except Exception as e:
        raise Unhashable(f"{type(value).__name__} cannot be hashed ({type(e).__name__})") from None
