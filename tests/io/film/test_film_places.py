"""A film that cannot be opened has the reason that a picture there would have."""

import pytest

from imgprep.io import uris
from imgprep.io.film.places import Films


def reason_of(act):
    with pytest.raises(uris.SourceError) as told:
        act()
    return told.value.reason, str(told.value)


REASONS = {
    "s3://bucket/film.mp4": "no_permission",  # no credentials are known
    "memory://none/film.mp4": "missing_file",
    "{tmp}/none.mp4": "missing_file",
}


@pytest.mark.parametrize("source", REASONS)
def test_its_reason_and_sentence_are_those_of_a_picture(source, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = source.format(tmp=tmp_path)

    def opened():
        with Films(max_bytes=1 << 20).open(place) as file:
            file.read(1)

    found = reason_of(opened)
    assert found == reason_of(lambda: uris.read_bytes(place, max_bytes=1 << 20))
    assert found[0] == REASONS[source]
