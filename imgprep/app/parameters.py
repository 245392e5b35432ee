"""The `parameters` cell of a notebook: names, types, defaults and help; and values that fit them.

papermill injects whatever it is given (a text into an int, a name that does not exist), so this is
checked first. A notebook may come from somebody else: nothing of it is run or evaluated here.
"""

import ast
import difflib
import functools
import io
import operator
import os
import tokenize
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

KIND_NAMES = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "None": types.NoneType,
}
HOLDS = {"list": 1, "dict": 2}  # how many types stand in the brackets
PLAIN_WORDS: dict[Any, dict[str, Any]] = {
    bool: {"true": True, "false": False},
    types.NoneType: {"null": None, "none": None, "": None},
}


@dataclass(frozen=True)
class Parameter:
    """One line of the cell: `name: kind = default  # help`. `kind`: int, list[str], str | None."""

    name: str
    kind: Any
    default: Any
    help: str = ""


def cell_of(notebook: dict[str, Any], file: str) -> str:
    """The source of the one cell tagged `parameters`. ValueError for none, or more than one."""
    tagged = []
    for cell in notebook["cells"]:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            tagged.append(cell)
    if len(tagged) != 1:
        found = f"{file} has {len(tagged)} cells tagged 'parameters'"
        raise ValueError(f"{found}; it needs exactly one")
    return "".join(tagged[0]["source"])


def declared(source: str, file: str) -> dict[str, Parameter]:
    """The parameters that a cell's source declares, in its order. Runs nothing.

    >>> declared("size_wh: list[int] = [128, 128]  # width, height", "02.ipynb")["size_wh"]
    Parameter(name='size_wh', kind=list[int], default=[128, 128], help='width, height')
    """
    try:
        lines = ast.parse(source).body
        helps = _helps(source)
    # RecursionError and MemoryError: a cell of ten thousand brackets is an attack on the parser.
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as e:
        why = getattr(e, "msg", "") or type(e).__name__
        raise ValueError(f"{file}: the parameters cell is not Python: {why}") from None
    found = {}
    for line in lines:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            raise ValueError(f"{file}: {_not_a_parameter(line)}")
        if line.value is None:
            raise ValueError(f"{file}: {_not_a_parameter(line)}")
        name = line.target.id
        try:
            # literal_eval: a notebook of somebody else's is read here, and not run.
            kind = _kind(line.annotation)
            default = fitted_value(ast.literal_eval(line.value), kind)
        except (ValueError, TypeError, RecursionError) as e:
            raise ValueError(f"{file}: parameter {name}: {e}") from None
        found[name] = Parameter(name, kind, default, helps.get(line.end_lineno or 0, ""))
    return found


def _not_a_parameter(line: ast.stmt) -> str:
    return f"{ast.unparse(line)!r} in the parameters cell is not `name: type = literal`"


def _helps(source: str) -> dict[int, str]:
    """The comments of a source by the number of their line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    return {token.start[0]: token.string.lstrip("# ") for token in comments}


def _kind(node: ast.expr) -> Any:
    """The type that an annotation spells with the names in KIND_NAMES. Evaluates nothing.

    `str or None` means what `str | None` does: papermill reads only the first.
    """
    if isinstance(node, ast.Name) and node.id in KIND_NAMES:
        return KIND_NAMES[node.id]
    if isinstance(node, ast.Constant) and node.value is None:
        return types.NoneType
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _kind(node.left) | _kind(node.right)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return functools.reduce(operator.or_, map(_kind, node.values))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return _container(node.value.id, node.slice)
    known = ", ".join(KIND_NAMES)
    raise ValueError(f"{ast.unparse(node)!r} is no type of a parameter; there is: {known}")


def _container(name: str, inside: ast.expr) -> Any:
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if HOLDS.get(name) != len(parts):
        raise ValueError(f"{name}[{ast.unparse(inside)}] is no type of a parameter")
    kinds = [_kind(part) for part in parts]
    if name == "list":
        return list[kinds[0]]  # type: ignore[valid-type]
    return dict[kinds[0], kinds[1]]  # type: ignore[valid-type]


def fitted_value(value: Any, kind: Any) -> Any:
    """`value` as a `kind`, or ValueError. Paths become text and tuples lists, as papermill needs.

    A text stays as it is where a text is wanted; elsewhere it is read as a literal, as on a
    command line.

    >>> fitted_value("007", str), fitted_value("7", int), fitted_value("null", str | None)
    ('007', 7, None)
    >>> fitted_value("[256, 256]", list[int]), fitted_value((1, 2), list[int])
    ([256, 256], [1, 2])
    """
    if isinstance(kind, types.UnionType):
        return _fit_any(value, kind)
    parts = typing.get_args(kind)
    origin = typing.get_origin(kind) or kind
    if isinstance(value, str) and origin is not str:
        value = _literal(value, origin, typed=bool(parts))
    if origin is list and isinstance(value, list | tuple):
        return [fitted_value(v, parts[0]) for v in value] if parts else list(value)
    if origin is dict and isinstance(value, dict):
        return (
            {fitted_value(k, parts[0]): fitted_value(v, parts[1]) for k, v in value.items()}
            if parts
            else value
        )
    if origin is str and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    # bool is an int for Python, not for people; an int is a float for both
    if type(value) is origin or (origin is float and type(value) is int):
        return value
    raise ValueError(f"{value!r} is not {spell(kind)}")


def _fit_any(value: Any, kind: types.UnionType) -> Any:
    for part in sorted(typing.get_args(kind), key=lambda p: p is str):  # str takes every text
        try:
            return fitted_value(value, part)
        except ValueError:
            continue
    raise ValueError(f"{value!r} is not {spell(kind)}")


def _literal(text: str, kind: Any, *, typed: bool) -> Any:
    """`text` as written on a command line; the text itself when it is no such literal.

    The caller refuses it then.
    """
    if kind in PLAIN_WORDS:
        return PLAIN_WORDS[kind].get(text.lower(), text)
    try:
        if kind in (int, float):
            return kind(text)
        # Elements of list[str] must arrive as they were typed ("007"): nothing is interpreted yet.
        return yaml.load(text, yaml.BaseLoader if typed else yaml.SafeLoader)
    except (ValueError, yaml.YAMLError):
        return text


def spell(kind: Any) -> str:
    """A type as a person writes it: 'int', 'list[str]', 'str | None'."""
    if kind is types.NoneType:
        return "None"
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def nearest(name: str, names: Iterable[str]) -> str:
    """'; did you mean 'x'?' when a name comes close, else '; there is: a, b'."""
    names = list(names)
    # The last part of a dotted name first: who writes size_wh means ocr.size_wh.
    close = [n for n in names if n.rpartition(".")[2] == name]
    close = close or difflib.get_close_matches(name, names, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is: {', '.join(names) or 'none'}"
