"""What a text means in an index: by its vectors' model, above what nonsense reaches."""

import contextlib
import sqlite3

import numpy as np

from imgprep.models.embedders import Embedder
from imgprep.stages.search.nonsense import least_likeness
from imgprep.stages.search.questions import read_fact, set_fact, tag_names
from imgprep.stages.search.vectors import Vectors


class Meaning:
    """The vectors' model, loaded when it is first needed. made_by: "name@version" of that model."""

    def __init__(self, db: sqlite3.Connection, made_by: str):
        self._db = db
        self._made_by = made_by
        self._embedder: Embedder | None = None
        self._tag_names: list[str] = []
        self._tag_vectors = np.zeros((0, 0), np.float32)

    def picture_model(self) -> Embedder:
        if self._embedder is None:
            self._embedder = Embedder(self._made_by.rpartition("@")[0])
        return self._embedder

    def text_model(self) -> Embedder | None:
        """The model that made the vectors, where it is to be had and knows words."""
        try:
            model = self.picture_model()
        except ValueError:  # not on this machine
            return None
        return model if model.has_words else None

    def checked(self, model: Embedder) -> Embedder:
        """The model itself. ValueError where the vectors are of another one."""
        asked_with = f"{model.name}@{model.model_version}"
        if asked_with != self._made_by:
            told = f"the vectors were made by {self._made_by}, not by {asked_with}"
            raise ValueError(f"{told}: they cannot be compared")
        return model

    def rows_by_meaning(
        self,
        vectors: Vectors,
        model: Embedder,
        text: str,
        most: int,
        rows: np.ndarray | None,
    ) -> dict[int, float]:
        """Row -> likeness, the best first, of pictures that the text means."""
        query = self.checked(model).text(text)
        found, scores = vectors.nearest(query, most, rows)
        least = self._least_likeness(vectors, model)
        pairs = zip(found.tolist(), scores.tolist(), strict=True)
        return {row: score for row, score in pairs if score >= least}

    def near_tags(self, text: str, n: int, model: Embedder) -> list[tuple[str, float]]:
        """The tags that mean what the text means, with their likeness."""
        names = tag_names(self._db)
        if not names:
            return []
        if self._tag_names != names:
            self._tag_vectors = model.text(names)
            self._tag_names = names
        scores = self._tag_vectors @ model.text(text)
        # stable: the same text names the same tags, in the same order.
        best = np.argsort(-scores, kind="stable")[:n]
        return [(names[row], round(float(scores[row]), 3)) for row in best]

    def _least_likeness(self, vectors: Vectors, model: Embedder) -> float:
        """What a text's likeness has to reach; worked out once for a set."""
        name = f"nonsense {model.name}@{model.model_version}"
        kept = read_fact(self._db, name)
        if kept:
            return float(kept)
        value = least_likeness(vectors, model)
        with contextlib.suppress(sqlite3.OperationalError), self._db:  # a folder that is only read
            set_fact(self._db, name, str(value))
        return value
