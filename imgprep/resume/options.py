"""Which options and columns a function takes;
and the checks of options that several stages have.
"""

import contextlib
import difflib
import inspect
import json
from collections.abc import Callable
from typing import Any

from imgprep.dataset import Dataset, exists


def check_options(fn: Callable[..., Any], options: dict[str, Any], columns: list[str]) -> list[str]:
    """Which named columns a function asks for;
    ValueError when an option is not one of its parameters.
    """
    try:
        # A class is called with the picture in `__call__`;
        # its `__init__` takes the options of the model.
        call = fn.__call__ if isinstance(fn, type) else fn
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature: Python will say
        return []
    if isinstance(fn, type):
        del parameters[0]  # self
    where = getattr(fn, "__name__", type(fn).__name__)
    first = _picture_parameter(where, parameters)
    if not any(p.kind == p.VAR_KEYWORD for p in parameters):
        names = {p.name for p in parameters}
        check_known(where, options, sorted(names - {first}))
    asked = []
    # Without the picture, which is always the first.
    for p in parameters[1:]:
        if p.name in options or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue
        if p.name in columns:
            asked.append(p.name)
        elif p.default is p.empty:
            told = "it is neither an option given nor a column of this dataset"
            near = difflib.get_close_matches(p.name, columns, 1)
            more = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where} needs {p.name!r}: {told}{more}")
    return asked


def as_spelled_before(fn: Callable[..., Any], options: dict[str, Any], out: str) -> dict[str, Any]:
    """The options as the dataset folder `out` has them,
    where they say the same: a default may be spelled out.

    fn: what takes them; a class by its __init__ and its __call__.
    """
    if not exists(out):
        return options
    try:
        before = Dataset(out).info["options"].get("options")
    except (ValueError, KeyError, AttributeError):  # damaged, or of a stage without options
        return options
    if not isinstance(before, dict) or not before.keys() | options.keys():
        return options
    defaults = _defaults(fn)
    is_same = _said(before, defaults) == _said(options, defaults)
    # What stands in the card already: else a default
    # that is spelled out would change the card's bytes.
    return before if is_same else options


def _defaults(fn: Callable[..., Any]) -> dict[str, Any]:
    takers = [fn.__init__, fn.__call__] if isinstance(fn, type) else [fn]  # type: ignore[misc]
    found: dict[str, Any] = {}
    for taker in takers:
        with contextlib.suppress(TypeError, ValueError):  # a builtin without a signature
            for p in inspect.signature(taker).parameters.values():
                if p.default is not p.empty:
                    found.setdefault(p.name, p.default)
    return found


def _said(options: dict[str, Any], defaults: dict[str, Any]) -> dict[str, str]:
    """What these options say beside the defaults. A list is as good as a tuple."""
    said = {
        # Through JSON, as the card has them: there a tuple is a list, and both mean the same.
        name: json.dumps(value, sort_keys=True, default=repr) for name, value in options.items()
    }
    plain = {
        name: json.dumps(value, sort_keys=True, default=repr) for name, value in defaults.items()
    }
    return {name: text for name, text in said.items() if plain.get(name) != text}


def _picture_parameter(where: str, parameters: list[inspect.Parameter]) -> str:
    """The name of the parameter that is the picture; "" where it has none.

    ValueError where there is no place.
    """
    for p in parameters:
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            return p.name
    if not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        raise ValueError(f"{where} takes no picture: its first parameter is the image")
    return ""


def check_known(where: str, options: dict[str, Any], known: list[str]) -> None:
    """ValueError when one of the options is none of these."""
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            has = f"it has: {', '.join(known)}"
            raise ValueError(f"{where} has no option {option!r}; {has}{hint}")


def check_flags(**flags: Any) -> None:
    """ValueError when one of these is not a bool."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false, not {value!r}")


def run_options(**run: Any) -> dict[str, Any]:
    """What `stage.build` is told of a run, checked before anything is read."""
    check_run_options(**run)
    return run


def check_run_options(
    *,
    batch_size: Any = 10_000,
    retry_failed: Any = False,
    refresh: Any = False,
    max_failed: Any = 0.5,
    dry_run: Any = False,
    num_gpus: Any = 0,
) -> None:
    """ValueError for a wrong value of an option that the stages share."""
    # bool is an int to Python, and batch_size=True is a slip.
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size is a number of rows, not {batch_size!r}")
    check_flags(retry_failed=retry_failed, refresh=refresh, dry_run=dry_run)
    is_number = isinstance(max_failed, int | float) and not isinstance(max_failed, bool)
    if not is_number or not 0 <= max_failed <= 1:
        raise ValueError(f"max_failed is a share of the rows, from 0 to 1, not {max_failed!r}")
    if not isinstance(num_gpus, int | float) or num_gpus < 0:
        raise ValueError(f"num_gpus is how many GPUs each worker has, not {num_gpus!r}")


def check_max_pixels(value: Any) -> None:
    """ValueError when this is no number of pixels, and not None."""
    _check_most("max_pixels", value, "a number of pixels, or None for no limit")


def check_max_frames(value: Any) -> None:
    """ValueError when this is no number of frames, and not None."""
    _check_most("max_frames", value, "a number of frames, or None for no limit")


def check_max_bytes(value: Any) -> None:
    """ValueError when this is no number of bytes, and not None."""
    _check_most("max_bytes", value, "a number of bytes, or None for what a stage allows by itself")


def _check_most(name: str, value: Any, told: str) -> None:
    # type and not isinstance, for the same reason.
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"{name} is {told}, not {value!r}")
