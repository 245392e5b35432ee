"""Operations: a picture function by its name, with options typed by its signature.

All doors call these.
"""

import base64
import inspect
import io
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pydantic
from PIL import Image

from imgprep.hashing import digest
from imgprep.picture import codec, enhance, geometry, ocr
from imgprep.serve.answers import Refusal, Result, read_json

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "AVIF": "image/avif"}
# What a door means by itself; a function's option of that name could not be told from it.
DOOR_WORDS = {"format", "quality", "url", "expires", "signature", "op", "steps"}
QUALITY = {"JPEG": 82, "WEBP": 80, "AVIF": 60, "PNG": 95}
PICTURE_PIXELS = 50_000_000
# Up to here a cubic does not alias: it looks at four pixels each way.
NEAR_ENOUGH = 1.3


@dataclass(frozen=True)
class Operation:
    """A function `fn(image, **options) -> picture | dict | list[dict]` as doors see it."""

    name: str
    function: Callable
    options: type[pydantic.BaseModel]
    help: str
    mark: str = ""  # what a result depends on beside the name: a model's

    @property
    def key(self) -> str:
        """What names it in the ids of results."""
        return f"{self.name} {self.mark}" if self.mark else self.name


def operation(function: Callable, name: str = "", *, mark: str = "") -> Operation:
    """The operation that a function is: named as it,
    its options those that have a default or a type.

    Raises ValueError for a function without a name of letters, or with an option that doors mean.

    >>> def warm(image, *, by: int = 10): ...
    >>> operation(warm).options(by="30").by
    30
    """
    name = name or getattr(function, "__name__", type(function).__name__)
    if not name.isidentifier():
        raise ValueError(f"an operation's name stands in a URL: {name!r} is none, give one")
    call: Any = function if inspect.isfunction(function) else type(function).__call__
    # Without the first, which is the picture.
    parameters = list(inspect.signature(function).parameters.values())[1:]
    taken = DOOR_WORDS & {p.name for p in parameters}
    if taken:
        raise ValueError(f"{name} has an option {min(taken)!r}, a word of the doors: rename it")
    hints = typing.get_type_hints(call) if inspect.isfunction(call) else {}
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            fields[parameter.name] = _field(parameter, hints.get(parameter.name))
    config = pydantic.ConfigDict(
        # forbid: an option that is misspelled must not be passed over in silence.
        extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    )
    options = pydantic.create_model(f"{name}_options", __config__=config, **fields)
    return Operation(name, function, options, inspect.getdoc(function) or name, mark)


def _field(parameter: inspect.Parameter, hint: Any) -> tuple[Any, Any]:
    if hint is None:
        hint = type(parameter.default) if parameter.default not in (parameter.empty, None) else Any
    return hint, ... if parameter.default is parameter.empty else parameter.default


def fit_side(image: np.ndarray, *, max_side: int = 800) -> np.ndarray:
    """Shrink a picture until its longest side is max_side pixels; a smaller one stays as it is."""
    if max_side < 1:
        raise ValueError(f"max_side is a number of pixels, not {max_side}")
    height, width = image.shape[:2]
    if not max_side < max(width, height) <= NEAR_ENOUGH * max_side:
        return geometry.shrink(image, max_side)
    target = geometry.fitted_wh((width, height), (max_side, max_side))
    return cv2.resize(image, target, interpolation=cv2.INTER_CUBIC)


def decoded_for_fit(data: bytes, max_side: int = 800) -> np.ndarray:
    """A picture as large as `fit_side` wants it, from a JPEG that is decoded at 1/2, 1/4 or 1/8.

    Where such a fraction is whole pixels and comes near the target, that is all: 12 Mpx (4000 wide)
    to 800 in 21 CPU ms, not 33, and as near to a Lanczos of the whole. Else twice the target, to
    average over.
    """
    side = max(1, max_side)
    header = codec.probe(data, max_pixels=PICTURE_PIXELS)
    is_near = any(
        k * side <= max(header.width, header.height) <= NEAR_ENOUGH * k * side
        # A decoder's last column of a fraction that is not whole would be stretched over the rest.
        and header.width % k == header.height % k == 0
        for k in (2, 4, 8)
    )
    least = side if is_near else 2 * side
    return codec.decode(data, min_wh=(least, least), max_pixels=PICTURE_PIXELS)


def builtin() -> dict[str, Operation]:
    """The operations that come with the package."""
    functions: list[Callable] = [geometry.fit_pad, enhance.denoise, enhance.contrast, enhance.grey]
    named = [operation(fit_side, "fit", mark="3"), operation(ocr.prepare, "ocr")]
    ours = [operation(f) for f in functions] + named
    return {one.name: one for one in ours}


def checked(which: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the function's own types, defaults left out.

    Refusal (wrong_option) says what is wrong.

    Text is read as JSON where the type is a list: `size_wh=[64,64]`.
    """
    try:
        model = which.options.model_validate({k: _from_query(v) for k, v in given.items()})
    except pydantic.ValidationError as e:
        # The first: a list of faults that follow from one another helps nobody.
        first = e.errors()[0]
        known = ", ".join(which.options.model_fields) or "none"
        place = ".".join(map(str, first["loc"]))
        told = f"{which.name}: {place}: {first['msg']}; its options: {known}"
        raise Refusal("wrong_option", told) from None
    # Only those that were given: what a default says is no part of a result's id.
    return {name: getattr(model, name) for name in sorted(model.model_fields_set)}


def _from_query(value: Any) -> Any:
    """A query's list or dict, which is text."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return read_json(value)
        except ValueError:
            return value
    return value


def job_id(name: str, options: Mapping[str, Any], object_id: str) -> str:
    """What names a result: the same operation, options and object have the same id everywhere."""
    return digest("job", name, dict(options), object_id)


def compute(
    function: Callable, data: bytes, options: dict[str, Any], format: str, quality: int | None
) -> Result:
    """Decode, call, encode. Runs in a worker.

    A picture comes back as one of `format`; a dict or a list of them as JSON, pictures in it as
    base64. Raises DecodeError for the picture's faults; what the function raises is its own.
    """
    if function is fit_side:
        image = decoded_for_fit(data, **options)
    else:
        image = codec.decode(data, max_pixels=PICTURE_PIXELS)
    answer = function(image, **options)
    if isinstance(answer, np.ndarray):
        return Result(encoded(answer, format, quality), MEDIA_TYPES[format])
    return Result(json.dumps(_plain_answer(answer, format, quality)).encode(), "application/json")


def encoded(image: np.ndarray, format: str, quality: int | None = None) -> bytes:
    """A picture for the web. quality: 1 to 100; None is 82 for JPEG, 80 for WebP, 60 for AVIF.

    JPEG and PNG are those of `codec.encode`. WebP by method 2 and AVIF by speed 9: above, each
    costs several times the CPU for a few percent of the bytes.
    """
    quality = QUALITY[format] if quality is None else quality
    if format not in ("WEBP", "AVIF"):
        return codec.encode(image, format, quality=quality)
    out = io.BytesIO()
    # One thread: workers are as many as there are cores.
    extra = {"method": 2} if format == "WEBP" else {"speed": 9, "max_threads": 1}
    Image.fromarray(image).save(out, format, quality=quality, **extra)
    return out.getvalue()


def _plain_answer(value: Any, format: str, quality: int | None) -> Any:
    """Plain values of what a function returned."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim in (2, 3):
        text = base64.b64encode(encoded(value, format, quality)).decode()
        return {"media_type": MEDIA_TYPES[format], "base64": text}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain_answer(v, format, quality) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_answer(v, format, quality) for v in value]
    return value
