"""Augmented copies by albumentations: from a seed, so the same on every run.

Boxes, points and masks move along.
"""

import io
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image

from imgprep.failures import Failure

Notes = dict[str, Any]  # annotations of a picture: kind -> value
SizeHW = tuple[int, int]

# What an annotation is, and albumentations' word for the order of its numbers; all of them are in
# pixels of the whole picture.
ANNOTATION_KINDS = {
    "boxes_xywh": "coco",
    "boxes_xyxy": "pascal_voc",
    "labels": "",
    "points_xy": "xy",
    "mask": "",
}

# The longest array of a transform's parameters that is recorded: the others are maps of pixels.
MOST_RECORDED = 9


class AugmentError(Failure):
    """The transforms do not go with this picture or its annotations."""


def pipeline(wanted: dict[str, dict[str, Any]] | str) -> dict[str, Any]:
    """The transforms in albumentations' own saved form, checked.

    wanted: {"HorizontalFlip": {"p": 0.5}, "Rotate": {"limit": 10}}, in this order, or the YAML or
    JSON file that `albumentations.save` wrote. Raises ValueError for an unknown name or parameter.
    """
    if isinstance(wanted, str):
        return _loaded(wanted)
    if not isinstance(wanted, dict) or not wanted:
        must = "augment is {transform: parameters} of albumentations or a file it saved"
        raise ValueError(f"{must}, not {wanted!r}")
    library = _albumentations()
    transforms = [_transform(name, given or {}) for name, given in wanted.items()]
    return _saved_pipeline(library.Compose(transforms))


def _loaded(path: str) -> dict[str, Any]:
    library = _albumentations()
    kind = "json" if path.endswith(".json") else "yaml"
    try:
        found = library.load(path, data_format=kind)
    except Exception as e:
        # A missing file, no YAML, no pipeline.
        said = _one_line(e, 200)
        raise ValueError(
            f"augment: {path} is no pipeline that albumentations saved: {said}"
        ) from None
    if not isinstance(found, library.Compose):
        found = library.Compose([found])
    return _saved_pipeline(found)


def _transform(name: str, parameters: dict[str, Any]) -> Any:
    library = _albumentations()
    kind: Any = getattr(library, name, None)
    if not _is_transform(kind):
        known = [name for name, kind in vars(library).items() if _is_transform(kind)]
        near = get_close_matches(name, known)
        raise ValueError(f"augment: albumentations has no {name!r}; near: {near}")
    with warnings.catch_warnings():
        # A warning is how it complains of a parameter it does not know.
        warnings.simplefilter("error")
        try:
            return kind(**parameters)
        except (TypeError, ValueError, UserWarning) as e:
            raise ValueError(f"augment: {name}: {_one_line(e, 200)}") from None


def _is_transform(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, _albumentations().BasicTransform)


def _saved_pipeline(composed: Any) -> dict[str, Any]:
    saved: dict[str, Any] = _albumentations().to_dict(composed)["transform"]
    return saved


def compose(saved: dict[str, Any], kinds: list[str]) -> Any:
    """What `pipeline` gave, ready to run on pictures with annotations of these kinds.

    Build it once per worker.
    """
    library = _albumentations()
    boxes = ANNOTATION_KINDS.get(_kind_of("boxes", kinds))
    points = ANNOTATION_KINDS.get(_kind_of("points", kinds))
    box_rules = None
    if boxes:
        # `number` says which boxes are left.
        box_rules = library.BboxParams(
            boxes,
            ["number"],
            clip=True,
            filter_invalid_bboxes=True,
        )
    point_rules = None
    if points:
        point_rules = library.KeypointParams(points, remove_invisible=False)
    return library.Compose(
        library.from_dict({"transform": saved}).transforms,
        bbox_params=box_rules,
        keypoint_params=point_rules,
        save_applied_params=True,
    )


def _kind_of(what: str, kinds: Any) -> str:
    """The first kind of annotation that begins with this word; "" where there is none."""
    found = (kind for kind in kinds if kind.startswith(what))
    return next(found, "")


@contextmanager
def one_sentence() -> Iterator[None]:
    """Whatever went wrong becomes an AugmentError.

    There are as many classes of it as authors of transforms.
    """
    try:
        yield
    except Exception as e:
        # An address differs in every run.
        said = re.sub(r" at 0x[0-9a-f]+", "", f"{type(e).__name__}: {e}")
        raise AugmentError("error", f"augment: {_one_line(said, 300)}") from e


@one_sentence()
def apply_pipeline(
    run: Any,
    image: ndarray,
    notes: Notes,
    seed: int,
) -> tuple[ndarray, Notes, str]:
    """One copy of an (H, W, 3) uint8 picture, its annotations, and as JSON what was done to it.

    Boxes that leave the picture go, with their labels; points stay, also outside. The same seed
    gives the same copy.
    """
    boxes = _kind_of("boxes", notes)
    points = _kind_of("points", notes)
    run.set_random_seed(seed)
    made = run(**_given(image, notes))
    if getattr(made["image"], "dtype", None) != np.uint8:
        raise TypeError(
            "these transforms give numbers for training and no 8-bit picture: "
            "leave them to its loader"
        )
    moved = dict(notes)
    if boxes:
        moved[boxes] = _rounded_as(made["bboxes"], notes[boxes])
        if notes.get("labels") is not None:
            labels = notes["labels"]
            moved["labels"] = [labels[int(n)] for n in made["number"]]
    if points:
        moved[points] = _rounded_as(made["keypoints"], notes[points])
    if "mask" in made:
        moved["mask"] = _encoded_mask(made["mask"])
    return made["image"], moved, _record(made["applied_transforms"], seed)


def _given(image: ndarray, notes: Notes) -> dict[str, Any]:
    """Picture and annotations under albumentations' words."""
    given: dict[str, Any] = {"image": image}
    boxes = _kind_of("boxes", notes)
    if boxes:
        rows = notes[boxes] or []
        given["bboxes"] = np.reshape(rows, (-1, 4))
        given["number"] = range(len(rows))
    points = _kind_of("points", notes)
    if points:
        given["keypoints"] = np.reshape(notes[points] or [], (-1, 2))
    if notes.get("mask") is not None:
        given["mask"] = _decoded_mask(notes["mask"])
    return given


def _record(applied: list[tuple[str, dict[str, Any]]], seed: int) -> str:
    done = {}
    for name, parameters in applied:
        short = {k: v for k, v in parameters.items() if np.size(v) <= MOST_RECORDED}
        done[name] = short
    record = {
        "albumentations": _albumentations().__version__,
        "seed": seed,
        "applied": done,
    }
    return json.dumps(record, default=lambda value: np.asarray(value).tolist())


@one_sentence()
def scaled(
    notes: Notes,
    from_wh: SizeHW,
    to_wh: SizeHW,
) -> Notes:
    """Annotations of a picture that was resized.

    >>> notes = {"boxes_xywh": [[10.0, 20.0, 30.0, 45.0]], "labels": ["cat"]}
    >>> scaled(notes, (100, 100), (50, 10))
    {'boxes_xywh': [[5.0, 2.0, 15.0, 4.5]], 'labels': ['cat']}
    """
    ratio = [to / of for to, of in zip(to_wh, from_wh, strict=True)]
    moved = dict(notes)
    for kind, value in notes.items():
        if kind.startswith("boxes") and value:
            moved[kind] = _rounded_as(np.multiply(value, ratio * 2), value)
        elif kind.startswith("points") and value:
            moved[kind] = _rounded_as(np.multiply(value, ratio), value)
        elif kind == "mask" and value is not None and to_wh != from_wh:
            # A mask holds numbers of classes: no mean of two is a third.
            pixels = cv2.resize(
                _decoded_mask(value),
                to_wh,
                interpolation=cv2.INTER_NEAREST,
            )
            moved[kind] = _encoded_mask(pixels)
    return moved


def _rounded_as(moved: Any, given: Any) -> list[Any]:
    """Whole where they were whole, else to a hundredth of a pixel."""
    values = np.asarray(moved)
    is_whole = bool(given) and np.issubdtype(np.asarray(given).dtype, np.integer)
    values = values.round().astype(int) if is_whole else values.astype(float).round(2)
    return list(values.tolist())


def _decoded_mask(mask: bytes | dict[str, Any]) -> ndarray:
    """Numbers of classes as they are stored: palettes are not looked up."""
    data = mask["bytes"] if isinstance(mask, dict) else mask
    return np.array(Image.open(io.BytesIO(data)))


def _encoded_mask(mask: ndarray) -> dict[str, Any]:
    _, data = cv2.imencode(".png", mask)
    return {"bytes": data.tobytes(), "path": None}


def _one_line(said: object, most: int) -> str:
    words = str(said).split()
    return " ".join(words)[:most]


def _albumentations() -> Any:
    # Else it asks the network for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations
