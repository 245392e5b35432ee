"""The album in a real browser, on a phone's width: upload, find by a word, open, correct, delete."""

import base64
import hashlib
import re
import time
from fractions import Fraction

import browser
import cv2
import httpx
import numpy as np
import pytest
from browser import Page
from conftest import missing

from imgprep.picture import codec
from imgprep.sample.films import write_film
from imgprep.serve import access, server
from imgprep.serve.places import place_of

SCENE = np.full((900, 3000, 3), (60, 120, 200), np.uint8)
cv2.circle(SCENE, (1500, 450), 300, (250, 220, 40), -1)
JPEG = codec.encode(SCENE, "JPEG")

# What is hit at the right end of a button of the gallery.
REACHED = """(() => {
  const wanted = [...gallery.root.querySelectorAll(".acts button")].find(b => b.textContent === "%s");
  const box = wanted.getBoundingClientRect();
  const at = [box.right - 3, (box.top + box.bottom) / 2];
  return document.elementFromPoint(...at).shadowRoot?.elementFromPoint(...at)?.textContent;
})()"""
UPLOAD = """(async () => {
  const bytes = Uint8Array.from(atob(%r), c => c.charCodeAt(0));
  const given = new DataTransfer();
  given.items.add(new File([bytes], %r, { type: %r }));
  const field = document.getElementById("files");
  field.files = given.files;
  field.dispatchEvent(new Event("change"));
})()"""


def until(page, expression, wait_s=30):
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if page.run(expression):
            return
        time.sleep(0.1)
    raise AssertionError(f"{expression} did not come true; the page says {page.problems}")


@pytest.fixture
def here(tmp_path):
    if not browser.find():
        missing("chromium")
    with server.start(out=str(tmp_path), workers=1) as found:
        yield found


def upload(page, data, name, kind="image/jpeg"):
    page.run(UPLOAD % (base64.b64encode(data).decode(), name, kind))


@pytest.mark.browser
@pytest.mark.slow
def test_a_phone_uploads_finds_corrects_and_deletes(here):
    with Page(width=390, height=800) as page:
        page.open(here.url)
        until(page, "gallery.results?.().length === 0")
        upload(page, JPEG, "sunny day.jpg")
        # While it uploads, the page takes nothing else.
        until(page, "gallery.results().length === 1 && !document.getElementById('busy').open")
        (known,) = httpx.get(f"{here.url}/v1/objects").json()["objects"]
        assert (known["width"], known["height"], known["name"]) == (2048, 614, "sunny day.jpg")
        page.run("gallery.query.value = 'sunny'; gallery.search()")
        until(page, "gallery.results().length === 1")
        page.run("gallery.query.value = 'zxqv'; gallery.search()")
        until(page, "gallery.results().length === 0")
        assert page.run("document.documentElement.scrollWidth") <= 390
        page.run("window.confirm = () => true")
        page.run("gallery.query.value = ''; gallery.search()")
        until(page, "gallery.results().length === 1")
        page.run("[...gallery.root.querySelectorAll('button')].find(b => b.textContent === 'Select').click()")
        page.run("[...gallery.root.querySelectorAll('.acts button')].find(b => b.textContent === 'all').click()")
        # A finger gets at it: nothing lies over the button.
        assert page.run(REACHED % "Delete") == "Delete"
        page.run("[...gallery.root.querySelectorAll('.acts button')].find(b => b.textContent === 'Delete').click()")
        until(page, "gallery.results().length === 0")
        assert httpx.get(f"{here.url}/v1/objects").json()["objects"] == []
        assert page.problems == []


@pytest.mark.browser
def test_docs_can_be_read_where_swaggers_host_cannot_be_reached(here):
    with Page(width=390, height=800) as page:
        page.call("Network.setBlockedURLs", urls=["https://*"])
        page.open(f"{here.url}/docs")
        text = page.run("document.body.innerText")
        assert "POST /v1/fit" in text
        assert "max_side integer = 800" in text
        assert page.run("document.documentElement.scrollWidth") <= 390


def fill(here, count):
    """An album of so many pictures, as if they had been uploaded."""
    name = httpx.put(f"{here.url}/v1/objects?name=first", content=JPEG).json()["id"]
    service = here.service
    known = service.records.get(name)
    small = service.store.get(place_of(name))
    for number in range(count - 1):
        other = hashlib.sha256(b"%d" % number).hexdigest()
        service.store.put(place_of(other), small, content_type="image/jpeg")
        service.records.put(other, known | {"name": f"picture {number}"})


@pytest.mark.browser
@pytest.mark.slow
def test_thousands_of_pictures_on_a_phone_in_the_dark(here):
    fill(here, 3000)
    with Page(width=390, height=800, dark=True) as page:
        page.open(here.url)
        until(page, "globalThis.gallery?.results?.().length === 3000", wait_s=60)
        # What is not on the screen is not in the page.
        assert page.run("gallery.root.querySelectorAll('img').length") < 150
        assert page.run("document.documentElement.scrollWidth") <= 390
        shade = page.run("getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in re.findall(r"\d+", shade)[:3]) < 60
        page.run("gallery.query.value = 'picture 2718'; gallery.search()")
        until(page, "gallery.results().length >= 1 && gallery.results().length < 100")
        page.run("gallery.root.querySelector('img').click()")
        until(page, "gallery.root.querySelector('.side') !== null")
        side = "gallery.root.querySelector('.side')"
        assert page.run(f"{side}.scrollWidth <= {side}.clientWidth")  # ids are broken, not cut off
        assert page.problems == []


@pytest.mark.browser
@pytest.mark.slow
def test_what_is_no_picture_is_told_and_hostile_names_run_nothing(here):
    with Page(width=800, height=700) as page:
        page.open(here.url)
        until(page, "gallery.results?.().length === 0")
        upload(page, b"no picture", "<img src=x onerror=alert(1)>.jpg")
        until(page, "document.getElementById('refused').children.length === 1")
        assert "no picture" in page.run("document.getElementById('refused').textContent")
        page.run("document.getElementById('closing').click()")
        upload(page, JPEG, "<script>document.title = 'taken'</script>.jpg")
        until(page, "gallery.results().length === 1")
        assert page.run("document.title") == "imgprep"
        assert all(address.startswith(here.url) for address in page.requests)


def test_decisions_are_kept_beside_what_taggers_said(here):
    name = httpx.put(f"{here.url}/v1/objects?name=a", content=JPEG).json()["id"]
    decided = [{"image_id": name, "kind": "tag", "name": "holiday", "accepted": True}]
    assert httpx.post(f"{here.url}/v1/corrections", json={"corrections": decided}).json() == {"taken": 1}
    tags = httpx.get(f"{here.url}/v1/objects/{name}").json()["tags"]
    assert [t["accepted"] for t in tags if t["name"] == "holiday"] == [True]
    assert all(t["accepted"] is None for t in tags if t["name"] != "holiday")
    wrong = httpx.post(f"{here.url}/v1/corrections", json={"corrections": [{"image_id": name}]})
    assert wrong.status_code == 422


def test_pictures_of_a_guarded_album_have_signed_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEYS", access.hashed_key("me", "write", "k"))
    with server.start(out=str(tmp_path), keys_env="MY_KEYS", workers=1) as here:
        headers = {"authorization": "Bearer k"}
        httpx.put(f"{here.url}/v1/objects", content=JPEG, headers=headers)
        assert httpx.get(f"{here.url}/v1/album").status_code == 401
        (small,) = httpx.get(f"{here.url}/v1/album", headers=headers).json()["small"]
        assert httpx.get(here.url + small).status_code == 200
        assert httpx.get(here.url + small.replace("max_side=400", "max_side=4")).status_code == 401


@pytest.mark.browser
def test_a_film_goes_up_in_pieces_and_is_seen_by_its_poster(here, tmp_path):
    frames = [np.full((48, 64, 3), 90, np.uint8)] * 12
    write_film(tmp_path / "a.mp4", frames, [Fraction(n, 12) for n in range(12)])
    with Page(width=390, height=800) as page:
        page.open(here.url)
        until(page, "gallery.results?.().length === 0")
        upload(page, (tmp_path / "a.mp4").read_bytes(), "garden – März.mp4", "video/mp4")
        until(page, "gallery.results?.().length === 1")
        (one,) = httpx.get(f"{here.url}/v1/objects").json()["objects"]
        assert (one["media"], one["name"]) == ("film", "garden – März.mp4")
        until(page, "gallery.root.querySelector('img')?.naturalWidth === 64")
        assert page.problems == []
        upload(page, b"no film", "b.mp4", "video/mp4")
        until(page, "document.getElementById('refused').textContent.includes('b.mp4: ')")
