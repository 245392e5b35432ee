"""What is gone answers for one release, with a sentence."""

import pytest


def test_croissant_says_who_writes_it_now():
    says = "there is no imgprep.croissant any more: the Hub writes the Croissant metadata"
    with pytest.raises(ImportError, match=says):
        from imgprep import croissant  # noqa: F401
