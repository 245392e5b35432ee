"""The verb that works on pictures: a function of one is run on all of a dataset."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from imgprep import engine
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.picture import codec, enhance, ocr
from imgprep.resume import fingerprint, make, stage
from imgprep.resume.options import (
    as_spelled_before,
    check_flags,
    check_known,
    check_max_pixels,
    check_options,
    check_run_options,
    run_options,
)
from imgprep.resume.parts import RESULT, PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.source import Source, open_source
from imgprep.resume.work import Work
from imgprep.rows.huggingface import RESERVED
from imgprep.rows.left_behind import left_behind
from imgprep.words import say

CHILD_COLUMNS = ("parent_id", "index")


def transform(
    source: str | Dataset | dict[str, pa.Table],
    out: str,
    fn: Callable,
    *,
    features: dict[str, Any] | None = None,
    children: bool = False,
    batch: int | None = None,
    num_gpus: float = 0,
    format: str = "PNG",
    max_pixels: int | None = codec.MAX_PIXELS,
    timeout_s: float | None = engine.PICTURE_TIMEOUT_S,
    max_memory_mb: int | None = None,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
    **options: Any,
) -> Dataset | None:
    """Run `fn(image, **options)` on every picture of `source`, into the dataset folder `out`.

    source: a dataset folder, what `sources.read` gives, or one path that it reads (a folder of
        pictures …).
    fn: gets an (H, W, 3) uint8 RGB array, the options, and each column of the dataset that it has a
        parameter for. Returns a picture (H, W, 3) or (H, W) uint8; or a dict of new columns (with
        the key "image": a new picture too); or, with children=True, a list of such dicts, which
        become rows with `parent_id` and `index`. A class is built once per worker with the options
        its __init__ takes, and then called. A column that fn takes and gives back, such as boxes
        that move with the picture, is replaced: its name stands in `features` or in fn.moves.
    features: the new columns: name -> a `datasets` feature, or a dtype such as "float32".
    batch: fn gets lists of up to so many pictures (and of columns), and returns a list.
    num_gpus: per worker. format: of new pictures: "PNG", "WEBP" (both lossless) or "JPEG" (quality
        95).
    max_pixels: pictures with more, by their header, are not decoded. None: no limit.
    timeout_s: from one result to the next (of a batch: to the next batch). max_memory_mb: of the
        worker's process, with all that it has loaded, in MiB. The process is ended, the picture's
        row says `took_too_long` or `too_much_memory`, and the others go on. None: no limit; with
        workers=0 none is kept, which the run says. A function that has such an option itself gets
        it, and is not limited by it.
    Placeholders go through and stay placeholders; rows without a picture keep their outcome.
    Raises ValueError for a wrong option before any work; what fn raises on a picture is that row's
    `error`.
    """
    _check_function(fn)
    run = run_options(
        batch_size=batch_size,
        retry_failed=retry_failed,
        max_failed=max_failed,
        dry_run=dry_run,
    )
    check_run_options(num_gpus=num_gpus)
    check_flags(children=children)
    check_max_pixels(max_pixels)
    limits, own = _limits(fn, timeout_s, max_memory_mb)
    _check_form(format, batch)
    new = _New.of(fn, features or {}, children=children)
    given = open_source(source, out, new=new.names)
    extra = new.schema(given)
    call = _called(fn, options | own, given.columns, out)
    _tell_boxes_behind(given, call.name, fn, extra.names)
    given = given.with_columns(call.columns).without(new.moved)
    key, reusable = call.key()
    picture = make.Picture(
        call.run(key),
        format=format,
        columns=tuple(call.columns),
        extra=tuple(extra.names),
        children=children,
        batch=batch,
        name=call.name,
        max_pixels=max_pixels,
        is_grey=gives_grey(call.fn, call.options),
    )
    plan = stage.Stage(
        name=call.name,
        options={"function": call.name, "options": call.told, "format": format},
        operation=_operation_of(call, key, extra, format, children=children),
        inputs=given.inputs,
        earlier=given.earlier,
        circumstances={
            "max_pixels": max_pixels,
            "timeout_s": limits.timeout_s,
            "max_memory_mb": limits.max_memory_mb,
        },
        can_retry=True,
        work=Work(PartWriter(Folder(out), part_schema(extra)), given.load, picture),
        shape=Shape(extra, children=children),
        once=call.is_kept,
        num_gpus=num_gpus,
        limits=limits,
        reusable=reusable,
    )
    return stage.build(plan, out, **run)


def _tell_boxes_behind(given: Source, name: str, fn: Callable, new: list[str]) -> None:
    """Say which columns hold places in the picture that fn does not move with it."""
    first = next(iter(given.inputs.values()))
    left = left_behind(first.rows.schema, fn, new)
    if left:
        say(f"{name}: {left}")


def _limits(
    fn: Callable, timeout_s: float | None, max_memory_mb: int | None
) -> tuple[engine.Limits, dict[str, Any]]:
    """The limits of one picture; and what of them is an option of the function's own."""
    taken = _option_names(fn)
    own: dict[str, Any] = {}
    if "timeout_s" in taken:
        if timeout_s != engine.PICTURE_TIMEOUT_S:
            own["timeout_s"] = timeout_s
        timeout_s = engine.PICTURE_TIMEOUT_S
    if "max_memory_mb" in taken:
        if max_memory_mb is not None:
            own["max_memory_mb"] = max_memory_mb
        max_memory_mb = None
    return engine.Limits(timeout_s, max_memory_mb), own


def _option_names(fn: Callable) -> set[str]:
    """What a function takes, or a class when it is built and when it is called."""
    called: list[Callable[..., Any]] = [fn, fn.__call__] if isinstance(fn, type) else [fn]
    names: set[str] = set()
    for one in called:
        with contextlib.suppress(TypeError, ValueError):  # of a built-in nobody knows
            names |= set(inspect.signature(one).parameters)
    return names


def _called(fn: Callable, options: dict[str, Any], columns: list[str], out: str) -> "_Call":
    """What is called with what, told in the words of an earlier run of the same."""
    call = _Call.of(fn, options).checked(columns)
    return replace(call, told=as_spelled_before(fn, call.told, out))


def _check_function(fn: Any) -> None:
    if not callable(fn):
        raise ValueError(f"fn is the function that is run on each picture, not {fn!r}")


def _check_form(format: str, batch: int | None) -> None:
    if format not in ("PNG", "WEBP", "JPEG"):
        raise ValueError(f"format is 'PNG', 'WEBP' or 'JPEG', not {format!r}")
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise ValueError(f"batch is a number of pictures, not {batch!r}")


@dataclass(frozen=True)
class _New:
    """The columns that come of the function. moved: those that it takes, too, and that are
    replaced."""

    declared: dict[str, Any]
    moved: list[str]
    names: list[str]

    @staticmethod
    def of(
        fn: Callable,
        features: dict[str, Any],
        *,
        children: bool,
    ) -> "_New":
        """ValueError for a column that every dataset has already."""
        taken = _parameters(fn)
        moves = [*features, *getattr(fn, "moves", ())]
        moved = [name for name in moves if name in taken]
        names = features_schema(features).names
        more = CHILD_COLUMNS if children else ()
        needed = {*RESULT.names, *RESERVED, *more}
        for name in names:
            if name in needed:
                fix = "return yours under another name"
                raise ValueError(f"there is a column {name!r} already: {fix}")
        added = [name for name in names if name not in moved]
        return _New(features, moved, [*added, *more])

    def schema(self, given: Source) -> pa.Schema:
        """Their types; those that are only moved have that of the source."""
        declared = dict(self.declared)
        for name in self.moved:
            feature = None if name in declared else given.feature_of(name)
            if feature is not None:
                declared[name] = feature
        return features_schema(declared)


def features_schema(declared: Any) -> pa.Schema:
    """Columns as `datasets` declares them. ValueError for what is no feature."""
    if not isinstance(declared, dict):
        raise ValueError(f"features is {{name: feature or dtype}}, not {declared!r}")
    if not declared:
        return pa.schema([])
    from datasets import Features, Value

    try:
        kinds = {n: Value(kind) if isinstance(kind, str) else kind for n, kind in declared.items()}
        return Features(kinds).arrow_schema
    except (ValueError, TypeError) as e:
        raise ValueError(f"features: {e}") from None


@dataclass(frozen=True)
class _Call:
    """A function, or a class, and its options.

    init: what the class is built with; options: what each call gets. told: the options as the books
        have them.
    columns: of the dataset, that it asks for.
    """

    fn: Callable
    init: dict[str, Any]
    options: dict[str, Any]
    told: dict[str, Any]
    columns: list[str] = field(default_factory=list)

    @staticmethod
    def of(fn: Callable, options: dict[str, Any]) -> "_Call":
        """A class takes its options in __init__ where it has such parameters, the others when it is
        called."""
        if not isinstance(fn, type):
            return _Call(fn, {}, options, options)
        taken = inspect.signature(fn).parameters
        init = {name: value for name, value in options.items() if name in taken}
        call = {name: value for name, value in options.items() if name not in taken}
        if not getattr(fn, "once", False):
            return _Call(fn, init, call, options)
        # A model of ours: a wrong one is told now.
        # [2:]: without self and the picture.
        own = [*inspect.signature(fn.__call__).parameters][2:]
        check_known(fn.__name__, call, [*taken, *own])
        try:
            return _Call(fn(**init), init, call, call)
        except TypeError as e:
            raise ValueError(str(e).replace(".__init__()", " is")) from None

    def checked(self, columns: list[str]) -> "_Call":
        """With the columns that it asks for. ValueError where it has no such option, or needs what
        is not there."""
        return replace(self, columns=check_options(self.fn, self.options, columns))

    @property
    def name(self) -> str:
        return make.name_of(self.fn)

    @property
    def is_kept(self) -> bool:
        """Is it built once per worker?"""
        return isinstance(self.fn, type) or getattr(self.fn, "once", False)

    def key(self) -> tuple[str, str]:
        """(what a result depends on, why results may not be reused)"""
        try:
            return fingerprint.function(self.fn), ""
        except fingerprint.Unhashable as e:
            return "", f"{self.name} uses something that {e}"

    def run(self, key: str) -> Callable:
        """What is called with each picture and the columns."""
        if isinstance(self.fn, type):
            return make.Function(self.fn, self.init, self.options, key)
        return functools.partial(self.fn, **self.options)


def gives_grey(fn: Callable, options: dict[str, Any]) -> bool:
    """Are all results of a function of ours grey? Then one channel of them is stored."""
    while isinstance(fn, functools.partial):
        # What was given later wins, as with partial itself.
        options = {**fn.keywords, **options}
        fn = fn.func
    return fn is enhance.grey or (fn is ocr.prepare and options.get("grey") is True)


def _operation_of(
    call: _Call,
    key: str,
    extra: pa.Schema,
    format: str,
    *,
    children: bool,
) -> dict[str, Any]:
    """What changes an ok picture's bytes."""
    found = {
        "stage": "transform",
        "features": str(extra),
        "format": format,
        "options": call.told,
        "children": children,
        "function": key,
    }
    # Only where it changes the bytes: other results stay.
    if gives_grey(call.fn, call.options):
        found["channels"] = 1
    return found


def _parameters(fn: Callable) -> list[str]:
    """The names of what a function takes; of a class, of what its instances take."""
    call = fn.__call__ if isinstance(fn, type) else fn
    try:
        return list(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return []
