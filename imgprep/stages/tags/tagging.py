"""All taggers of a run as one picture function: one decode, and a network that two of them need
looks once.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from imgprep.models import Boxes, Objects, demo
from imgprep.models.embedders import Embedder
from imgprep.models.labels import Labels
from imgprep.picture import composition, tone
from imgprep.rows.tag_columns import tags_feature
from imgprep.rows.tag_entries import MOST_PER_PICTURE, entry, unique
from imgprep.stages.tags.detected import object_tags

OWN = ("composition", "tone")


class Tagging:
    """Called with a picture it gives the columns of `features()`."""

    # One for each worker and not for each unit: to load its networks takes seconds.
    once, version = True, 2
    __name__ = "tags"

    def __init__(self, taggers: list[Any], embedder: Any = None):
        if not taggers and embedder is None:
            raise ValueError("name at least one tagger, or an embedder")
        repeated = {t for t in taggers if isinstance(t, str) and taggers.count(t) > 1}
        if repeated:
            raise ValueError(f"tagger {sorted(repeated)[0]!r} is named twice")
        self.taggers = [_tagger(one) for one in taggers]
        self.embedder = Embedder(embedder) if isinstance(embedder, str) else embedder
        self.has_map = self._has_demo_network()

    def _has_demo_network(self) -> bool:
        """Whether the demo network looks anyway: its map of features costs composition nothing."""
        if self.embedder is not None and self.embedder.kind == "demo":
            return True
        return any(isinstance(one, Labels) and one.runs == "demo" for one in self.taggers)

    def features(self) -> dict[str, Any]:
        """The columns, as `datasets` features."""
        from datasets import List, Value

        columns: dict[str, Any] = {"tags": tags_feature()}
        if "composition" in self.taggers:
            scores = {column_of(name): Value("float32") for name in composition.TECHNIQUES}
            columns["composition_scores"] = scores | {"evidence": Value("string")}
        if "tone" in self.taggers:
            columns["tone_measures"] = {name: Value("float32") for name in tone.TONE_MEASURES}
        if self.embedder is not None:
            columns["embedding"] = List(Value("float32"))
            columns["embedding_model"] = Value("string")
        return columns

    def __call__(self, image: np.ndarray) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        columns: dict[str, Any] = {}
        for tagger in self.taggers:
            if tagger == "composition":
                scored = composition.scores(image, features=self._map(image))
                found += composition.named_techniques(scored, with_map=self.has_map)
                columns["composition_scores"] = score_columns(scored)
            elif tagger == "tone":
                columns["tone_measures"] = tone.measure_tone(image)
                found += tone.named_tones(columns["tone_measures"])
            else:
                found += _entries(tagger, image)
        if self.embedder is not None:
            columns["embedding"] = self.embedder(image).tolist()
            columns["embedding_model"] = f"{self.embedder.name}@{self.embedder.model_version}"
        whole = [entry(one, source="imgprep", version="1") for one in found]
        return {"tags": unique(whole)} | columns

    def _map(self, image: np.ndarray) -> np.ndarray | None:
        return demo.network().look(image).features if self.has_map else None


def column_of(technique: str) -> str:
    """The field of `composition_scores` that holds a technique's score."""
    return technique.replace(" ", "_")


def score_columns(scored: composition.Scored) -> dict[str, Any]:
    """The column `composition_scores` of a picture."""
    columns: dict[str, Any] = {}
    seen = {}
    for technique, (score, evidence) in scored.items():
        columns[column_of(technique)] = score
        if evidence:
            seen[technique] = evidence
    columns["evidence"] = json.dumps(seen, separators=(",", ":"))
    return columns


def _tagger(given: Any) -> Any:
    """A name that we know, a model, or the function itself."""
    if isinstance(given, str):
        return given if given in OWN else Labels(given)
    if not callable(given):
        known = ", ".join([*OWN, demo.DEMO_NAME])
        raise ValueError(
            f"a tagger is one of {known}, a model's name, or a function, not {given!r}"
        )
    return given


def _entries(tagger: Callable, image: np.ndarray) -> list[dict[str, Any]]:
    """What a model or a function of the user's gives for a picture."""
    name = getattr(tagger, "__name__", type(tagger).__name__)
    if isinstance(tagger, Boxes | Objects):
        return object_tags(tagger, image)
    found = tagger(image)
    if not isinstance(found, list | tuple):
        raise ValueError(f"{name} gives a list of tags, not {type(found).__name__}")
    if len(found) > MOST_PER_PICTURE:
        told = f"{name} gives {len(found):,} tags for one picture"
        raise ValueError(f"{told}, of {MOST_PER_PICTURE:,} at most: name the surest")
    version = str(getattr(tagger, "version", "1"))
    return [entry(one, source=name, version=version) for one in found]
