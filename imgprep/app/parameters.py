"""The `parameters` cell of a notebook: names, types, defaults and help; and values made to fit those types.

papermill injects whatever it is given (a text into an int, a name that does not exist), so this is checked first.
"""

import ast
import difflib
import io
import os
import tokenize
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "None": None}


@dataclass(frozen=True)
class Parameter:
    """One line of the cell: `name: kind = default  # help`. `kind` is a type: int, list[str], str | None."""

    name: str
    kind: Any
    default: Any
    help: str = ""


def cell_of(notebook: dict[str, Any], file: str) -> str:
    """The source of the one cell tagged `parameters`. ValueError when there is none, or more than one."""
    tagged = [c for c in notebook["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{file} has {len(tagged)} cells tagged 'parameters'; it needs exactly one")
    return "".join(tagged[0]["source"])


def read(source: str, file: str) -> dict[str, Parameter]:
    """The parameters that a cell's source declares, in its order. Runs nothing.

    >>> read("size_wh: list[int] = [128, 128]  # width, height", "02.ipynb")["size_wh"]
    Parameter(name='size_wh', kind=list[int], default=[128, 128], help='width, height')
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    helps = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found = {}
    for line in ast.parse(source).body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name) or line.value is None:
            raise ValueError(f"{file}: {ast.unparse(line)!r} in the parameters cell is not `name: type = literal`")
        name = line.target.id
        try:
            # Only the names in TYPES exist there: an annotation cannot run anything.
            kind = eval(ast.unparse(line.annotation), {"__builtins__": {}}, TYPES)
            found[name] = Parameter(name, kind, fit(ast.literal_eval(line.value), kind), helps.get(line.end_lineno, ""))
        except (ValueError, NameError, TypeError) as e:
            raise ValueError(f"{file}: parameter {name}: {e}") from None
    return found


def fit(value: Any, kind: Any) -> Any:
    """`value` as a `kind`, or ValueError. Paths become text and tuples lists, as papermill needs them.

    A text stays as it is where a text is wanted; elsewhere it is read as a literal, as on a command line.

    >>> fit("007", str), fit("7", int), fit("[256, 256]", list[int]), fit("null", str | None), fit((1, 2), list[int])
    ('007', 7, [256, 256], None, [1, 2])
    """
    parts = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        for part in sorted(parts, key=lambda p: p is str):  # str last: it takes every text
            try:
                return fit(value, part)
            except ValueError:
                continue
    else:
        origin = typing.get_origin(kind) or kind
        if isinstance(value, str) and origin is not str:
            value = _literal(value, origin, typed=bool(parts))
        if origin is list and isinstance(value, list | tuple):
            return [fit(v, parts[0]) if parts else v for v in value]
        if origin is dict and isinstance(value, dict):
            return {fit(k, parts[0]): fit(v, parts[1]) for k, v in value.items()} if parts else value
        if origin is str and isinstance(value, str | os.PathLike):
            return os.fspath(value)
        # bool is an int for Python, not for people; an int is a float for both
        if type(value) is origin or (origin is float and type(value) is int):
            return value
    raise ValueError(f"{value!r} is not {spell(kind)}")


def _literal(text: str, kind: Any, *, typed: bool) -> Any:
    """`text` as written on a command line; the text itself when it is no such literal (so the caller refuses it)."""
    words = {bool: {"true": True, "false": False}, types.NoneType: {"null": None, "none": None, "": None}}
    if kind in words:
        return words[kind].get(text.lower(), text)
    try:
        if kind in (int, float):
            return kind(text)
        # Elements of list[str] must arrive as they were typed ("007"): nothing inside is interpreted yet.
        return yaml.load(text, yaml.BaseLoader if typed else yaml.SafeLoader)
    except (ValueError, yaml.YAMLError):
        return text


def spell(kind: Any) -> str:
    """A type as it stands in the cell: 'int', 'list[str]', 'str | None'."""
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def nearest(name: str, names: Iterable[str]) -> str:
    """'; did you mean 'x'?' when a name comes close, else '; there is: a, b'."""
    names = list(names)
    close = [n for n in names if n.rpartition(".")[2] == name] or difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is: {', '.join(names) or 'none'}"
