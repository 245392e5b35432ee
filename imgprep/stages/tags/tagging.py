"""All taggers of a run as one picture function: one decode, and a network that two of them need looks once."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from imgprep.models import demo
from imgprep.models.embedders import Embedder
from imgprep.models.labels import Labels
from imgprep.picture import composition, tone
from imgprep.stages.tags.entries import entry, tags_feature, unique

OWN = ("composition", "tone")


class Tagging:
    """Called with a picture it gives the columns of `features()`."""

    once, version = True, 1
    __name__ = "tags"

    def __init__(self, taggers: list[Any], embedder: Any = None):
        if not taggers and embedder is None:
            raise ValueError("name at least one tagger, or an embedder")
        repeated = {t for t in taggers if isinstance(t, str) and taggers.count(t) > 1}
        if repeated:
            raise ValueError(f"tagger {sorted(repeated)[0]!r} is named twice")
        self.taggers = [_tagger(one) for one in taggers]
        self.embedder = Embedder(embedder) if isinstance(embedder, str) else embedder
        is_demo = any(isinstance(t, Labels) and t.runs == "demo" for t in self.taggers)
        self.has_map = is_demo or (self.embedder is not None and self.embedder.kind == "demo")

    def features(self) -> dict[str, Any]:
        """The columns, as `datasets` features."""
        from datasets import List, Value

        columns: dict[str, Any] = {"tags": tags_feature()}
        if "composition" in self.taggers:
            names = [column_of(technique) for technique in composition.TECHNIQUES]
            columns["composition_scores"] = {n: Value("float32") for n in names} | {"evidence": Value("string")}
        if "tone" in self.taggers:
            columns["tone_measures"] = {name: Value("float32") for name in tone.TONE_MEASURES}
        if self.embedder is not None:
            columns |= {"embedding": List(Value("float32")), "embedding_model": Value("string")}
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
    scores = {column_of(technique): score for technique, (score, _) in scored.items()}
    seen = {technique: evidence for technique, (_, evidence) in scored.items() if evidence}
    return scores | {"evidence": json.dumps(seen, separators=(",", ":"))}


def _tagger(given: Any) -> Any:
    """A name that we know, a model, or the function itself."""
    if isinstance(given, str):
        return given if given in OWN else Labels(given)
    if not callable(given):
        known = ", ".join([*OWN, demo.DEMO_NAME])
        raise ValueError(f"a tagger is one of {known}, a model's name, or a function, not {given!r}")
    return given


def _entries(tagger: Callable, image: np.ndarray) -> list[dict[str, Any]]:
    """What a model or a function of the user's gives for a picture."""
    name = getattr(tagger, "__name__", type(tagger).__name__)
    found = tagger(image)
    if not isinstance(found, list | tuple):
        raise ValueError(f"{name} gives a list of tags, not {type(found).__name__}")
    return [entry(one, source=name, version=str(getattr(tagger, "version", "1"))) for one in found]
