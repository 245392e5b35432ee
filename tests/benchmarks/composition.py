"""How well the composition scores agree with two raters, and what they cost.

python tests/benchmarks/composition.py [FOLDER]   FOLDER holds composition_labels.csv and the pictures it names

Prints the area under the ROC curve for rater a and rater b and their mean, without a network and (with the extra
`offline`) with the map of one, and CPU ms a picture. Chance is .5. Most paintings have no labels by rater a.
"""

import csv
import os
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in workers; threads that wait for each other cost as much again

import numpy as np
from sklearn.metrics import roc_auc_score

from imgprep.picture import codec, composition, tone

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"


def labelled(folder: Path) -> tuple[list[np.ndarray], list[dict[str, str]]]:
    with open(folder / "composition_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = [codec.decode((folder / row["file"]).read_bytes(), min_wh=(512, 512)) for row in rows]
    return pictures, rows


def areas(found: list[composition.Scored], rows: list[dict[str, str]]) -> dict[str, tuple[float, float]]:
    """Technique -> area under the curve for rater a (photographs only) and rater b."""
    out = {}
    for technique in composition.TECHNIQUES:
        scores = np.array([one[technique][0] for one in found])
        pair = []
        for rater in ("rater_a", "rater_b"):
            known = np.array([row[rater] != "?" for row in rows])
            truth = np.array([technique in row[rater].split(";") for row in rows])
            pair.append(float(roc_auc_score(truth[known], scores[known])))
        out[technique] = (pair[0], pair[1])
    return out


def feature_maps(pictures: list[np.ndarray]) -> list[np.ndarray] | None:
    try:
        from imgprep.models import demo
    except ImportError:
        return None

    if not demo.is_installed():
        return None
    network = demo.Network()
    return [network.look(picture).features for picture in pictures]


def timed(function, pictures: list[np.ndarray]) -> tuple[list, float]:
    start = time.process_time()
    found = [function(picture) for picture in pictures]
    return found, (time.process_time() - start) / len(pictures) * 1e3


def main() -> None:
    pictures, rows = labelled(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
    composition.scores(pictures[0])
    plain, cpu_ms = timed(composition.scores, pictures)
    _, tone_ms = timed(tone.measure_tone, pictures)
    found = {"no network": areas(plain, rows)}
    maps = feature_maps(pictures)
    if maps:
        with_maps = [composition.scores(p, features=m) for p, m in zip(pictures, maps, strict=True)]
        found["with a map"] = areas(with_maps, rows)
    for name, by_technique in found.items():
        for technique, (a, b) in by_technique.items():
            print(f"{name:12s} {technique:16s} a {a:.3f}  b {b:.3f}  mean {(a + b) / 2:.3f}")
    print(f"{len(pictures)} pictures; composition {cpu_ms:.1f}, tone {tone_ms:.1f} CPU ms each")


if __name__ == "__main__":
    import cv2

    cv2.setNumThreads(1)
    main()
