"""Vectors on a flat map: neighbours look alike, distances mean nothing."""

import importlib
import importlib.util

import numpy as np

TSNE_UP_TO = 5_000  # scikit-learn's takes minutes beyond
PRINCIPAL = 50  # what PCA leaves before the map


def flat_map(vectors: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, str]:
    """(n, 2) float32 from 0 to 1, and the method's name.

    t-SNE up to TSNE_UP_TO vectors; UMAP beyond, where the package umap-learn is installed; else
    PCA, which shows less. The same vectors give the same map.
    """
    count = len(vectors)
    if count < 5:
        return np.column_stack([np.linspace(0.2, 0.8, count), np.full(count, 0.5)]).astype(
            np.float32
        ), "a row"
    parts = principal_parts(vectors, min(PRINCIPAL, count - 1, vectors.shape[1]))
    if count <= TSNE_UP_TO:
        from sklearn.manifold import TSNE

        perplexity = min(30, max(2, (count - 1) / 3))
        method = TSNE(init="pca", perplexity=perplexity, random_state=seed, n_jobs=1)
        return _within(method.fit_transform(parts)), "t-SNE"
    if importlib.util.find_spec("umap"):
        umap = importlib.import_module("umap")  # of the extra `map`; compiles for half a minute
        method = umap.UMAP(n_neighbors=20, min_dist=0.15, random_state=seed, n_jobs=1)
        return _within(method.fit_transform(parts)), "UMAP"
    return _within(parts[:, :2]), "PCA"


def principal_parts(vectors: np.ndarray, count: int) -> np.ndarray:
    """(n, count) float32: the directions that differ most, in order,
    with signs that do not depend on the machine.
    """
    sample = vectors if len(vectors) <= 5_000 else vectors[:: len(vectors) // 5_000]
    middle = sample.mean(0)
    _, _, directions = np.linalg.svd((sample - middle).astype(np.float64), full_matrices=False)
    directions = directions[:count]
    strongest = np.abs(directions).argmax(1)
    directions = directions * np.sign(directions[np.arange(len(directions)), strongest])[:, None]
    return ((vectors - middle) @ directions.T).astype(np.float32)


def _within(places: np.ndarray) -> np.ndarray:
    low, high = np.percentile(places, [0.3, 99.7], axis=0)
    return np.clip((places - low) / np.maximum(high - low, 1e-9), 0, 1).astype(np.float32)
