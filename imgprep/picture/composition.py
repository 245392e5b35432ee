"""How a photograph is composed: six scores from 0 to 1, each with what was seen.

The scores sort pictures and explain themselves; they are heuristics, no facts. Two raters agree
with each other far better than any of them agrees with a score: sort by the score, and call a
picture by a technique (`composition_tags`) only above TAGGED_FROM, where about 6 of 10 were right
on 87 labelled photographs and paintings: few, so a guide only.
"""

import json
from typing import Any

import cv2
import numpy as np

from imgprep.picture.composition_lines import leading_lines
from imgprep.picture.composition_repeats import Keypoints, SharedMaps, mirrored, patterned
from imgprep.picture.composition_subject import SubjectMaps, centred, frame_score, on_thirds

MEASURED_SIDE = 256  # all is measured at this many pixels along the long side
TECHNIQUES = ("rule of thirds", "centered", "pattern", "leading lines", "symmetry", "framing")
# Where precision reached about .6, by the union of two raters. Framing has too many false ones: it
# names nothing.
TAGGED_FROM = {
    "centered": 0.60,
    "rule of thirds": 0.76,
    "pattern": 0.41,
    "leading lines": 0.88,
    "symmetry": 0.70,
}
SOURCE, VERSION = "imgprep heuristic", "2"

Scored = dict[str, tuple[float, dict[str, Any] | None]]


def scores(image: np.ndarray, *, features: np.ndarray | None = None) -> Scored:
    """Technique -> (score from 0 to 1, evidence or None) of one (H, W, 3) uint8 picture.

    Evidence is in shares of width and height: `box` [x, y, width, height], `point` [x, y], `lines`
    [[x, y, x, y]], `axis` and `at`, `period` [dx, dy]. None where nothing of the kind was seen.
    features: (h, w, channels), the map of any network over the whole picture; with it pattern,
    symmetry and centered are found better. Pictures differ from their mirror image only in what the
    mirror changes.
    """
    small = at_side(image, MEASURED_SIDE)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    seen = SharedMaps.of(lab, grey.astype(np.float32))
    maps = SubjectMaps.of(lab, seen.grey, features)
    keypoints = Keypoints.of(grey)
    return {
        "rule of thirds": on_thirds(maps),
        "centered": centred(maps),
        "pattern": patterned(seen, keypoints, features),
        "leading lines": leading_lines(grey, seen.gradient),
        "symmetry": mirrored(seen.even, keypoints, features),
        "framing": frame_score(lab),
    }


def composition_tags(
    image: np.ndarray, *, features: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """The techniques of a picture that score high enough to be named,
    as entries of the column `tags`.
    """
    found = scores(image, features=features)
    return named_techniques(found, with_map=features is not None)


def named_techniques(found: Scored, *, with_map: bool = False) -> list[dict[str, Any]]:
    """Of `scores`, those from TAGGED_FROM on, the highest first.

    With_map: they were made with `features`.
    """
    version = f"{VERSION}+map" if with_map else VERSION
    named = [t for t in TECHNIQUES if found[t][0] >= TAGGED_FROM.get(t, 2)]
    named.sort(key=lambda technique: -found[technique][0])
    return [
        {
            "kind": "composition",
            "name": technique,
            "score": found[technique][0],
            "source": SOURCE,
            "version": version,
            "evidence": json.dumps(found[technique][1]),
        }
        for technique in named
    ]


def at_side(image: np.ndarray, side: int) -> np.ndarray:
    """The picture with `side` pixels along its long side,
    24 at least along the other; small ones are enlarged.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size_wh = (max(24, round(width * scale)), max(24, round(height * scale)))
    return cv2.resize(image, size_wh, interpolation=how)
