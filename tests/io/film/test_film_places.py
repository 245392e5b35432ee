"""A film that cannot be opened has the reason that a picture there would have."""

import fsspec
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


@pytest.fixture
def no_credentials(monkeypatch):
    """Nothing is known of S3, also where an earlier test had a server: fsspec keeps filesystems."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    filesystem = fsspec.get_filesystem_class("s3")
    filesystem.clear_instance_cache()
    yield
    filesystem.clear_instance_cache()


@pytest.mark.parametrize("source", REASONS)
def test_its_reason_and_sentence_are_those_of_a_picture(source, tmp_path, no_credentials):
    place = source.format(tmp=tmp_path)

    def opened():
        with Films(max_bytes=1 << 20).open(place) as file:
            file.read(1)

    found = reason_of(opened)
    assert found == reason_of(lambda: uris.read_bytes(place, max_bytes=1 << 20))
    assert found[0] == REASONS[source]
