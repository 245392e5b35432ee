"""Pictures go to a vision model by signed links of an upload, and no signature is left anywhere."""

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from vision_server import KEY, VisionServer, mood_of

import imgprep
from imgprep import tags
from imgprep.picture import codec
from imgprep.stages import upload, variants

pytestmark = pytest.mark.store


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_KEY", KEY)
    (tmp_path / "in").mkdir()
    for n in range(6):
        image = np.full((40, 60 + n, 3), 40 * n, np.uint8)
        (tmp_path / "in" / f"p{n}.png").write_bytes(codec.encode(image, "PNG"))
    return str(tmp_path / "in")


def model(url):
    return tags.Vision(url, "fake", key_env="VISION_KEY", requests_per_minute=1e6, tokens_per_minute=1e9)


def held(folder):
    return b"".join(path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file())


@pytest.fixture(params=["s3", "az"])
def place(request):
    """A container that is there, on S3; and one that the upload makes, on Azure."""
    container = f"t{uuid.uuid4().hex}"
    if request.param == "s3":
        request.getfixturevalue("s3").mkdir(container)
    else:
        request.getfixturevalue("azurite")
    return f"{request.param}://{container}/{{variant}}"


def test_links_are_sent_and_answers_come_to_their_rows(pictures, tmp_path, place):
    with imgprep.session("local", 0):
        sizes = variants.build(pictures, str(tmp_path / "sizes"), thumbnail_side=8)
        up = upload.upload(sizes, place, str(tmp_path / "up"))
        found = tags.find(pictures, str(tmp_path / "found"), taggers=["tone"])
    signature = "sig=" if place.startswith("az") else "Signature="
    server = VisionServer()
    with server as url:
        asked = tags.ask(found, str(tmp_path / "asked"), model(url), links=up)
        again = model(url)
        tags.ask(found, str(tmp_path / "asked"), again, links=up)
        assert again.sent == 0, "a new signature is no new picture"
    urls = [body["messages"][1]["content"][0]["image_url"]["url"] for body in server.bodies]
    assert len(urls) == 6
    assert all(one.startswith("http://127.0.0.1") and signature in one for one in urls)
    table = asked.table("train", ["tags", "ask_reason"]).to_pylist()
    for row, data in zip(table, asked.pictures("train", range(6)), strict=True):
        assert [e["name"] for e in row["tags"] if e["kind"] == "mood"] == [mood_of(data)]
    assert signature.encode() not in held(tmp_path / "asked")


def test_a_link_that_leads_nowhere_is_a_reason_of_its_row(pictures, tmp_path, place):
    """As after a sweep of the store: the picture is gone; the others have their answers."""
    with imgprep.session("local", 0):
        sizes = variants.build(pictures, str(tmp_path / "sizes"), thumbnail_side=8)
        up = upload.upload(sizes, place, str(tmp_path / "up"))
        found = tags.find(pictures, str(tmp_path / "found"), taggers=["tone"])
    uploaded = up.table("train", ["uri", "variant"]).to_pylist()
    gone = next(row["uri"] for row in uploaded if row["variant"] == "vision")
    store, name = upload.locate_store(gone)
    store.delete(name)
    with VisionServer() as url:
        asked = tags.ask(found, str(tmp_path / "asked"), model(url), links=up)
    reasons = asked.table("train", ["ask_reason"])["ask_reason"].to_pylist()
    assert sorted(reasons) == [""] * 5 + ["http_400"]


def test_a_picture_that_was_not_uploaded_goes_as_bytes(pictures, tmp_path, s3):
    s3.mkdir(bucket := f"t{uuid.uuid4().hex}")
    with imgprep.session("local", 0):
        sizes = variants.build(pictures, str(tmp_path / "sizes"), thumbnail_side=8)
        up = upload.upload(sizes, f"s3://{bucket}/{{variant}}", str(tmp_path / "up"))
        late = codec.encode(np.full((40, 90, 3), 250, np.uint8), "PNG")
        Path(pictures, "late.png").write_bytes(late)
        found = tags.find(pictures, str(tmp_path / "found"), taggers=["tone"])
    server = VisionServer()
    with server as url:
        asked = tags.ask(found, str(tmp_path / "asked"), model(url), links=up)
    sent = [body["messages"][1]["content"][0]["image_url"]["url"][:5] for body in server.bodies]
    assert sorted(sent) == ["data:"] + ["http:"] * 6
    assert asked.table("train", ["ask_reason"])["ask_reason"].to_pylist() == [""] * 7


def test_what_cannot_be_signed_is_told_before_anything_is_asked(pictures, tmp_path):
    with imgprep.session("local", 0):
        sizes = variants.build(pictures, str(tmp_path / "sizes"), thumbnail_side=8)
        up = upload.upload(sizes, str(tmp_path / "store"), str(tmp_path / "up"))
        found = tags.find(pictures, str(tmp_path / "found"), taggers=["tone"])
    server = VisionServer()
    with server as url:
        for links, told in ((up, "no URLs to sign"), (found, "no uploaded picture of the size 'vision'")):
            with pytest.raises(ValueError, match=told):
                tags.ask(found, str(tmp_path / "asked"), model(url), links=links)
    assert server.asked == 0


def test_a_service_that_quotes_a_link_it_cannot_read_tells_no_signature(monkeypatch):
    from imgprep.io.vision import Linked, Prompt

    monkeypatch.setenv("VISION_KEY", KEY)
    secret = "https://pictures.example.org/a.jpg?X-Amz-Signature=0123456789abcdef0123456789abcdef"

    class Quoting(VisionServer):
        def _answer(self, body):
            said = f"Failed to download {json.dumps(secret)}"
            return 400, {"error": {"message": said, "code": "invalid_image_url"}}, {}

    with Quoting() as url:
        (answer,) = model(url).ask(Prompt(), [Linked(secret, "a" * 64)])
    assert answer.reason == "http_400"
    assert "Failed to download" in answer.error and "0123456789abcdef" not in answer.error
