"""Codes of one bit a number: small, quick, and with the bytes behind them as good as exact."""

import numpy as np

from imgprep.models.codes import Rotation, hamming, likeness, nearest_bits, to_bytes


def vectors(count: int, dim: int = 384, seed: int = 0) -> np.ndarray:
    """Like vectors of pictures: 40 things vary, seen in many numbers, with a little noise."""
    of_all = np.random.default_rng(7)
    centres, mixing = of_all.normal(size=(500, 40)), of_all.normal(size=(40, dim)) / np.sqrt(40)
    random = np.random.default_rng(seed)
    things = centres[random.integers(0, 500, count)] + 0.6 * random.normal(size=(count, 40))
    found = np.tanh(things @ mixing) + 0.08 * random.normal(size=(count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_bytes_give_the_vector_again():
    given = vectors(100)
    rows, scales = to_bytes(given)
    assert np.abs(rows * scales[:, None] - given).max() <= np.abs(given).max() / 127
    query = vectors(1, seed=1)[0]
    assert np.abs(likeness(rows, scales, query) - given @ query).max() < 0.02


def test_hamming_counts_bits():
    columns = np.array([[0, 1, 3], [0, 0, 255]], np.uint64)
    assert hamming(columns, np.array([0, 0], np.uint64)).tolist() == [0, 1, 10]


def test_the_nearest_by_bits_and_bytes_are_the_nearest():
    given, queries = vectors(30_000), vectors(20, seed=2)
    rotation = Rotation.of(given[:5000])
    columns = np.ascontiguousarray(rotation.codes(given).T)
    rows, scales = to_bytes(given)
    hits = 0
    for query in queries:
        exact = set(np.argsort(-(given @ query))[:10].tolist())
        close = nearest_bits(hamming(columns, rotation.codes(query[None])[0]), 400)
        found = close[np.argsort(-likeness(rows[close], scales[close], query))[:10]]
        hits += len(exact & set(found.tolist()))
    assert hits / 200 >= 0.97


def test_the_same_vectors_give_the_same_codes():
    given = vectors(100)
    assert (Rotation.of(given).codes(given) == Rotation.of(given).codes(given)).all()
