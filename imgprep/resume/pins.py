"""Which code a version of an operator of ours stands for:
in a checkout an edited operator computes anew.

A key holds an operator's public name and version, so that an upgrade of the package computes
nothing again. In a checkout somebody edits, and forgets the version: there the operator's code is
compared with what `pins.json` has for that version, and where it differs the code counts too. In an
installed wheel nothing is compared.
"""

import ast
import functools
import gc
import importlib
import inspect
import json
import linecache
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imgprep
from imgprep.hashing import digest

Operator = Callable[..., Any]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
PINS = Path(__file__).with_name("pins.json")
# The folders whose code makes pixels and masks. The others carry them; what they do is tested byte
# by byte.
COMPUTING = (
    "imgprep.picture.",
    "imgprep.tiles.",
    "imgprep.models",
    "imgprep.stages.",
    "imgprep.io.film.",
)


@functools.cache
def in_checkout() -> bool:
    """Does this imgprep stand beside its pyproject.toml, where it is edited?"""
    return (Path(imgprep.__file__).parents[1] / "pyproject.toml").is_file()


@functools.cache
def pinned() -> dict[str, dict[str, Any]]:
    """Public name of an operator -> {"version", "code"}."""
    pins: dict[str, dict[str, Any]] = json.loads(PINS.read_text("utf-8"))
    return pins


def edits(operator: Operator, name: str, version: Any) -> list[str]:
    """What a key has to hold besides name and version:
    the hash of the code where that is not the pinned one.
    """
    # In a wheel there is nothing to edit, and no source is read for the sake of a key.
    if not in_checkout() or not (operator.__module__ or "").startswith(COMPUTING):
        return []
    code = code_of(operator)
    return [] if pinned().get(name) == {"version": version, "code": code} else [code]


def stage_version(operator: Operator, version: int) -> Any:
    """A stage's own version, and in a checkout with edits also the hash of the code."""
    home = operator.__module__.rpartition(".")[2]
    more = edits(operator, f"imgprep.{home}.{operator.__qualname__}", version)
    return [version, *more] if more else version


# Cached for the process: a notebook that edits our code has to be restarted anyway, to import it.
@functools.cache
def code_of(operator: Operator) -> str:
    """Hash of a function's or class's source, and that of everything of ours it computes with.

    Comments, docstrings and layout do not count.
    """
    was_collecting = gc.isenabled()
    # Trees hold no circles and are freed without it. So many objects made it look through all that
    # is imported, which took longer than to parse and to write them out.
    gc.disable()
    try:
        return digest(_describe(operator, set()))
    finally:
        if was_collecting:
            gc.enable()


def _describe(value: Any, seen: set[int]) -> Any:
    is_code = isinstance(value, types.FunctionType | type)
    if is_code and value.__module__.startswith("imgprep."):
        # By name alone: what only carries pixels is tested byte by byte; and a circle has to end.
        if not value.__module__.startswith(COMPUTING) or id(value) in seen:
            return value.__qualname__
        seen.add(id(value))
        if isinstance(value, type):
            return _described_class(value, seen)
        return _described_function(value, seen)
    if callable(getattr(value, "__wrapped__", None)):  # functools.cache and its like
        return _describe(value.__wrapped__, seen)
    if isinstance(value, types.MethodType | staticmethod | classmethod):
        return _describe(value.__func__, seen)
    if isinstance(value, property):
        return _describe(value.fget, seen)
    if isinstance(value, bool | int | float | str | bytes | None):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_describe(v, seen) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, dict):
        return [[repr(k), _describe(v, seen)] for k, v in value.items()]
    return type(value).__qualname__


def _described_function(function: types.FunctionType, seen: set[int]) -> list[Any]:
    """Its source, and what it takes from around it."""
    names = _names_in(function.__code__)
    around = []
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        if not isinstance(value, types.ModuleType):
            around.append([name, _describe(value, seen)])
        elif value.__name__.startswith("imgprep"):
            members = vars(value)
            for taken in sorted(names & members.keys()):
                around.append([f"{name}.{taken}", _describe(members[taken], seen)])
    return [_plain_source(function), around]


def _described_class(kind: type, seen: set[int]) -> list[Any]:
    bases = [_describe(base, seen) for base in kind.__bases__ if base is not object]
    own = []
    for member in vars(kind).values():
        wraps = isinstance(member, property | staticmethod | classmethod)
        if not callable(member) and not wraps:
            continue
        # Generated methods (of a dataclass) have no source, and follow from the class's own.
        if getattr(_function_of(member), "__module__", "") == kind.__module__:
            own.append(_describe(member, seen))
    return [_plain_source(kind), bases, own]


def _function_of(member: Any) -> Any:
    if isinstance(member, property):
        return member.fget
    return getattr(member, "__func__", member)


def _names_in(code: types.CodeType) -> set[str]:
    """Names of globals and attributes in the code and the code inside it: more than are used."""
    names = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= _names_in(inner)
    return names


def _plain_source(value: Any) -> str:
    """Source without comments, docstrings and layout; "" of what has none."""
    try:
        tree = ast.parse(textwrap.dedent(_source_text(value)))
    # A class made in a notebook or by a C library has none; then its parts have to say it.
    except (OSError, TypeError, SyntaxError):
        return ""
    for _, node in _definitions(tree):
        if isinstance(node, ast.AsyncFunctionDef) or ast.get_docstring(node) is None:
            continue
        node.body = node.body[1:] or [ast.Pass()]
    # Unparsed again: layout and comments are gone, and
    # what is left differs only where the code does.
    return ast.unparse(tree)


def _source_text(value: Any) -> str:
    """What `inspect.getsource` gives."""
    # That tokenizes in Python, and for a class parses the whole file: for `Variants` and all that it
    # uses .15 CPU s in each run, where this way takes .07.
    value = inspect.unwrap(value)
    lines = linecache.getlines(inspect.getsourcefile(value) or "")
    blocks = _code_blocks("".join(lines))
    code = getattr(value, "__code__", None)
    block = blocks.get(code.co_firstlineno if code else value.__qualname__)
    # A lambda is no block of its own.
    return "".join(lines[block]) if block else inspect.getsource(value)


@functools.lru_cache(maxsize=32)
def _code_blocks(text: str) -> dict[int | str, slice]:
    """The lines of each function and class of a file: by its first line, and by a class's name."""
    blocks: dict[int | str, slice] = {}
    for name, node in _definitions(ast.parse(text)):
        first = min(part.lineno for part in [node, *node.decorator_list])
        lines = slice(first - 1, node.end_lineno)
        blocks[first] = lines
        if isinstance(node, ast.ClassDef):
            blocks.setdefault(name, lines)
    return blocks


def _definitions(tree: ast.AST) -> Iterator[tuple[str, Definition]]:
    """Functions and classes, outer ones first, each with its `__qualname__`."""
    inside = [("", tree)]
    for prefix, node in inside:
        # Only where statements stand: `ast.walk` looks into every expression, ten times as many.
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            for child in getattr(node, part, ()):
                below = prefix
                if isinstance(child, Definition):
                    yield prefix + child.name, child
                    is_class = isinstance(child, ast.ClassDef)
                    below += f"{child.name}." if is_class else f"{child.name}.<locals>."
                inside.append((below, child))


def operator_named(name: str) -> Operator:
    """The operator that a public name stands for: "imgprep.ocr.prepare".

    One of a module without a public name has its place there: "imgprep.picture.toning.sepia".
    """
    from imgprep.resume.fingerprint import PUBLIC

    home, _, operator = name.removeprefix("imgprep.").rpartition(".")
    # Some names stand for several places: "operators" is what makes masks, in any of its files.
    places = [place for place, public in PUBLIC.items() if public == home] or [home]
    for place in places:
        module = importlib.import_module(f"imgprep.{place}")
        found: Operator | None = getattr(module, operator, None)
        if found is not None:
            return found
    raise ValueError(f"there is no operator {name!r}")
