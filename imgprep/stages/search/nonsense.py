"""What a text that means nothing reaches in a set: less than that is no find."""

import numpy as np

from imgprep.models.embedders import Embedder
from imgprep.stages.search.vectors import Vectors

TRIED = 40  # words that mean nothing
LETTERS = "bcdfghjklmnpqrstvwxz"
MOST_SAMPLED = 2_000
QUANTILE = 0.95
MARGIN = 0.01  # a text that reaches what nonsense does is no better


def nonsense_words(count: int = TRIED) -> list[str]:
    """Words without a vowel, always the same.

    >>> nonsense_words(2)
    ['tzbdvx', 'gjwlhv']
    """
    random = np.random.default_rng(1)
    lengths = random.integers(4, 9, count)
    # Consonants only: a word that looks like one would be near to something.
    return ["".join(random.choice(list(LETTERS), length)) for length in lengths]


def least_likeness(vectors: Vectors, model: Embedder) -> float:
    """The likeness that one in twenty nonsense words reaches in the set, and a little."""
    pictures = vectors.sample(MOST_SAMPLED)
    if not len(pictures):
        return 1.0
    # The best of each: a search shows the best ones, so that is what nonsense competes with.
    best = (model.text(nonsense_words()) @ pictures.T).max(1)
    return float(np.quantile(best, QUANTILE)) + MARGIN
