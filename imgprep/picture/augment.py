"""Augmented copies by albumentations: from a seed, so the same on every run; boxes, points and masks move along."""

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
from PIL import Image

from imgprep.failures import Failure

# What an annotation is, and albumentations' word for the order of its numbers; all of them pixels of the whole picture.
KINDS = {"boxes_xywh": "coco", "boxes_xyxy": "pascal_voc", "labels": "", "points_xy": "xy", "mask": ""}


class AugmentError(Failure):
    """The transforms do not go with this picture or its annotations."""


def pipeline(wanted: dict[str, dict[str, Any]] | str) -> dict[str, Any]:
    """The transforms in albumentations' own saved form, checked.

    wanted: {"HorizontalFlip": {"p": 0.5}, "Rotate": {"limit": 10}}, in this order, or the YAML or JSON file that
    `albumentations.save` wrote. Raises ValueError for an unknown name or parameter.
    """
    A = _albumentations()
    if isinstance(wanted, str):
        try:
            found = A.load(wanted, data_format="json" if wanted.endswith(".json") else "yaml")
        except Exception as e:  # a missing file, no YAML, no pipeline
            said = " ".join(str(e).split())[:200]
            raise ValueError(f"augment: {wanted} is no pipeline that albumentations saved: {said}") from None
        return A.to_dict(found if isinstance(found, A.Compose) else A.Compose([found]))["transform"]
    if not isinstance(wanted, dict) or not wanted:
        raise ValueError(f"augment is {{transform: parameters}} of albumentations or a file it saved, not {wanted!r}")
    known = [n for n, c in vars(A).items() if isinstance(c, type) and issubclass(c, A.BasicTransform)]
    transforms = []
    for name, parameters in wanted.items():
        if name not in known:
            raise ValueError(f"augment: albumentations has no {name!r}; near: {get_close_matches(name, known)}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # how it complains of a parameter it does not know
            try:
                transforms.append(getattr(A, name)(**(parameters or {})))
            except (TypeError, ValueError, UserWarning) as e:
                raise ValueError(f"augment: {name}: {' '.join(str(e).split())[:200]}") from None
    return A.to_dict(A.Compose(transforms))["transform"]


def compose(saved: dict[str, Any], kinds: list[str]) -> Any:
    """What `pipeline` gave, ready to run on pictures with annotations of these kinds. Build it once per worker."""
    A = _albumentations()
    boxes, points = (next((KINDS[k] for k in kinds if k.startswith(what)), None) for what in ("boxes", "points"))
    return A.Compose(
        A.from_dict({"transform": saved}).transforms,
        bbox_params=boxes and A.BboxParams(boxes, ["number"], clip=True, filter_invalid_bboxes=True),
        keypoint_params=points and A.KeypointParams(points, remove_invisible=False),
        save_applied_params=True,
    )


@contextmanager
def one_sentence() -> Iterator[None]:
    """Whatever went wrong becomes an AugmentError: there are as many classes of it as authors of transforms."""
    try:
        yield
    except Exception as e:
        said = re.sub(r" at 0x[0-9a-f]+", "", f"{type(e).__name__}: {e}")
        raise AugmentError("error", f"augment: {' '.join(said.split())[:300]}") from e


@one_sentence()
def apply(run: Any, image: np.ndarray, notes: dict[str, Any], seed: int) -> tuple[np.ndarray, dict[str, Any], str]:
    """One copy of an (H, W, 3) uint8 picture, its annotations {kind: value}, and as JSON what was done to it.

    Boxes that leave the picture go, with their labels; points stay, also outside. The same seed gives the same copy.
    """
    given = {"image": image}
    boxes, points = (next((k for k in notes if k.startswith(what)), "") for what in ("boxes", "points"))
    if boxes:
        given |= {"bboxes": np.reshape(notes[boxes] or [], (-1, 4)), "number": range(len(notes[boxes] or []))}
    if points:
        given["keypoints"] = np.reshape(notes[points] or [], (-1, 2))
    if notes.get("mask") is not None:
        given["mask"] = _pixels(notes["mask"])
    run.set_random_seed(seed)
    made, moved = run(**given), dict(notes)
    if getattr(made["image"], "dtype", None) != np.uint8:
        raise TypeError("these transforms give numbers for training and no 8-bit picture: leave them to its loader")
    if boxes:
        moved[boxes] = _numbers(made["bboxes"], notes[boxes])
        if notes.get("labels") is not None:
            moved["labels"] = [notes["labels"][int(n)] for n in made["number"]]
    if points:
        moved[points] = _numbers(made["keypoints"], notes[points])
    if "mask" in made:
        moved["mask"] = _png(made["mask"])
    done = {name: {k: v for k, v in p.items() if np.size(v) <= 9} for name, p in made["applied_transforms"]}
    record = {"albumentations": _albumentations().__version__, "seed": seed, "applied": done}
    return made["image"], moved, json.dumps(record, default=lambda v: np.asarray(v).tolist())


@one_sentence()
def scaled(notes: dict[str, Any], from_wh: tuple[int, int], to_wh: tuple[int, int]) -> dict[str, Any]:
    """Annotations of a picture that was resized.

    >>> scaled({"boxes_xywh": [[10.0, 20.0, 30.0, 45.0]], "labels": ["cat"]}, (100, 100), (50, 10))
    {'boxes_xywh': [[5.0, 2.0, 15.0, 4.5]], 'labels': ['cat']}
    """
    ratio = [to / of for to, of in zip(to_wh, from_wh, strict=True)]
    moved = dict(notes)
    for kind, value in notes.items():
        if kind.startswith(("boxes", "points")) and value:
            moved[kind] = _numbers(np.multiply(value, ratio * 2 if kind.startswith("boxes") else ratio), value)
        elif kind == "mask" and value is not None and to_wh != from_wh:
            moved[kind] = _png(cv2.resize(_pixels(value), to_wh, interpolation=cv2.INTER_NEAREST))
    return moved


def _numbers(moved: Any, given: Any) -> list:
    """Whole where they were whole, else to a hundredth of a pixel."""
    is_whole = bool(given) and np.issubdtype(np.asarray(given).dtype, np.integer)
    return np.asarray(moved).round().astype(int).tolist() if is_whole else np.asarray(moved, float).round(2).tolist()


def _pixels(mask: bytes | dict[str, Any]) -> np.ndarray:
    """Numbers of classes as they are stored: palettes are not looked up."""
    return np.array(Image.open(io.BytesIO(mask["bytes"] if isinstance(mask, dict) else mask)))


def _png(mask: np.ndarray) -> dict[str, Any]:
    return {"bytes": cv2.imencode(".png", mask)[1].tobytes(), "path": None}


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for a newer version
    import albumentations

    return albumentations
