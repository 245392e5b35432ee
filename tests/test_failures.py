"""A failure has a word of the closed list, and comes whole out of another process."""

import pickle

import pytest

from imgprep.failures import REASONS, Failure, known_reason
from imgprep.io.uris import SourceError
from imgprep.io.web.addresses import UrlError
from imgprep.picture.augment import AugmentError
from imgprep.picture.budget import OverBudget
from imgprep.picture.header import DecodeError

KINDS = [Failure, SourceError, UrlError, DecodeError, OverBudget, AugmentError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["banana", "", "http_*", "http_", "http_4041", "Timeout"])
def test_an_unknown_word_is_refused_where_it_is_written(kind, word):
    with pytest.raises(ValueError, match="is no reason"):
        kind(word, "it went wrong")


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_comes_back_from_a_worker_as_it_was(kind):
    came = pickle.loads(pickle.dumps(kind("truncated", "the picture ends early")))
    assert type(came) is kind and came.reason == "truncated"
    assert str(came) == "the picture ends early"


def test_every_word_of_the_list_but_the_pattern_is_known():
    words = [*REASONS, "http_404", "http_503"]
    words.remove("http_*")
    assert [known_reason(word) for word in words] == words
