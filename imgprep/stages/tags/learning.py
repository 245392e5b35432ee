"""A tagger made of your corrections: logistic regression on the pictures' vectors."""

import hashlib
from typing import Any

import numpy as np

from imgprep.dataset import Dataset
from imgprep.models.embedders import Embedder
from imgprep.rows.tag_entries import TagEntry
from imgprep.stages.tags.corrections import HUMAN

LEAST = 20  # accepted, and as many rejected


class Learned:
    """Called with a picture it gives the tag, where it is likely enough.

    `auc`: cross-validated on the corrections.
    """

    once = True

    def __init__(
        self, kind: str, name: str, embedder: Embedder, weights: np.ndarray, facts: dict[str, Any]
    ):
        self.kind = kind
        self.tag = name
        self.embedder = embedder
        self.weights = weights
        self.auc = facts["auc"]
        self.at_least = facts["at_least"]
        self.examples = facts["examples"]
        self.version = hashlib.sha256(weights.tobytes()).hexdigest()[:12]
        self.__name__ = f"learned: {name}"

    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        vector = self.embedder(image)
        score = float(self.odds(vector[None])[0])
        if score < self.at_least:
            return []
        return [
            {
                "kind": self.kind,
                "name": self.tag,
                "score": score,
                "source": self.__name__,
                "version": self.version,
            }
        ]

    def odds(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) probabilities of (n, dim) vectors."""
        logits = vectors @ self.weights[:-1] + self.weights[-1]
        return 1 / (1 + np.exp(-logits))

    def __repr__(self) -> str:
        yes, no = self.examples
        told = f"{self.__name__!r} of {yes} accepted and {no} rejected pictures"
        judged = f"area under the curve {self.auc:.2f}, cross-validated"
        return f"{told}: {judged}; named from {self.at_least:.2f}"


def learn(ds: Dataset | str, name: str, *, kind: str | None = None) -> Learned:
    """A tagger for one name, from what people accepted and rejected; give it to `tags.find`.

    Needs a dataset with vectors (`find(embedder=…)`) and LEAST decisions of each sort. Raises
    ValueError where there are fewer. Does not touch the dataset.
    """
    # Here: scikit-learn is slow to import, and only this needs it.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    vectors, answers, kinds, models = _decisions(ds, name, kind)
    yes = int(answers.sum())
    no = len(answers) - yes
    if min(yes, no) < LEAST:
        told = f"{name!r} was accepted on {yes} and rejected on {no} pictures with a vector"
        raise ValueError(f"{told}: it takes {LEAST} of each to learn")
    if len(kinds) > 1 or len(models) > 1:
        several = ", ".join(sorted(kinds | models))
        raise ValueError(f"{name!r} is of several kinds or models ({several}): say which")
    # balanced: people reject far more often than they accept.
    regression = LogisticRegression(C=10, class_weight="balanced", max_iter=2000)
    # Judged on pictures that it was not fitted on: its own would flatter it.
    odds = cross_val_predict(regression, vectors, answers, cv=5, method="predict_proba")[:, 1]
    regression.fit(vectors, answers)
    weights = np.append(regression.coef_[0], regression.intercept_[0])
    facts = {
        "auc": float(roc_auc_score(answers, odds)),
        "examples": (yes, no),
        "at_least": _best_cut(odds, answers),
    }
    model = models.pop().rpartition("@")[0]
    return Learned(kinds.pop(), name, Embedder(model), weights.astype(np.float32), facts)


def _decisions(ds: Dataset, name: str, kind: str | None) -> tuple[np.ndarray, np.ndarray, set, set]:
    """(n, dim) vectors, (n,) yes or no, and the kinds and models that they are of."""
    vectors: list[list[float]] = []
    answers: list[bool] = []
    kinds: set[str] = set()
    models: set[str] = set()
    for split in ds.splits:
        if "embedding" not in ds.table(split).column_names:
            raise ValueError(f"{ds.folder} has no vectors: run tags.find with an embedder")
        table = ds.table(split, ["tags", "embedding", "embedding_model"])
        for row in table.to_pylist():
            one = _decision(row["tags"] or [], name, kind)
            if one is None or not row["embedding"]:
                continue
            vectors.append(row["embedding"])
            answers.append(bool(one["accepted"]))
            kinds.add(one["kind"])
            models.add(row["embedding_model"])
    return np.array(vectors, np.float32), np.array(answers, bool), kinds, models


def _decision(entries: list[TagEntry], name: str, kind: str | None) -> TagEntry | None:
    """What a person said of this tag on a picture."""
    for one in entries:
        is_it = one["name"] == name and kind in (None, one["kind"])
        if is_it and one["source"].startswith(HUMAN):
            return one
    return None


def _best_cut(odds: np.ndarray, answers: np.ndarray) -> float:
    """The probability above which precision and recall are best together (F1)."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(answers, odds)
    # 1e-9: at a cut where both are 0.
    f1 = 2 * precision * recall / (precision + recall + 1e-9)
    # The last pair (precision 1, recall 0) belongs to no cut.
    return float(cuts[int(f1[:-1].argmax())])
