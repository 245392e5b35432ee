"""A ladder in a real browser: played by its playlist alone, and segment by segment as hls.js does it."""

import time

import av
import browser
import httpx
import numpy as np
import pytest
from browser import Page
from conftest import missing

from imgprep.serve import server
from imgprep.serve.access import hashed_key

pytestmark = pytest.mark.browser
SECONDS = 9
LADDER = {"transcode": {"sides": [90, 180]}}
VIDEO = "document.querySelector('video')"
SHOWN = """(async () => {
  const video = document.querySelector("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 9 });
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 16, 9);
  return [...context.getImageData(0, 0, 16, 9).data].filter((_, at) => at % 4 < 3);
})()"""
# As every player by script does it: the header once, then segments as they are wanted.
BY_SCRIPT = """(async () => {
  const video = document.querySelector("video");
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise(done => source.addEventListener("sourceopen", done, { once: true }));
  const buffer = source.addSourceBuffer('video/mp4; codecs="%s"');
  for (const name of ["init.mp4", "00001.m4s", "00000.m4s", "00002.m4s"]) {
    buffer.appendBuffer(await (await fetch("%s/" + name)).arrayBuffer());
    await new Promise(done => buffer.addEventListener("updateend", done, { once: true }));
  }
  source.endOfStream();
  return [buffer.buffered.length, buffer.buffered.start(0), buffer.buffered.end(0), video.error];
})()"""


@pytest.fixture(scope="module")
def played(tmp_path_factory, films):
    """A service with keys, a ladder in it: the addresses that a player is given."""
    if not browser.find():
        missing("chromium")
    home = tmp_path_factory.mktemp("media")
    keys = home / "keys"
    keys.write_text(hashed_key("me", "write", "secret"))
    mine = {"Authorization": "Bearer secret"}
    with server.start(out=str(home / "media"), workers=1, keys_file=str(keys)) as here:
        with httpx.Client(base_url=here.url, timeout=60, headers=mine) as client:
            film = (films / "tour.mp4").read_bytes()
            name = client.put("/v1/objects", content=film).json()["id"]
            job = client.post(f"/v1/objects/{name}/steps", json={"steps": [LADDER]})
            deadline = time.monotonic() + 60
            while (done := client.get(job.headers["location"]).json())["status"] == "queued":
                assert time.monotonic() < deadline
                time.sleep(0.1)
            (step,) = done["steps"]
            told = client.get(step["result"]).json() | client.get(f"{step['result']}/play").json()
        yield here.url, told


@pytest.fixture
def page(played):
    """A page of the service's own origin that has no policy of its own, with a film in it."""
    with Page(width=640, height=400) as found:
        found.open(f"{played[0]}/healthz")
        found.run("document.body.innerHTML = '<video muted></video>'")
        yield found


def until(page, expression, wait_s=40):
    deadline = time.monotonic() + wait_s
    while not page.run(expression):
        error = page.run(f"{VIDEO}.error && {VIDEO}.error.message")
        assert not error and time.monotonic() < deadline, (expression, error, page.problems)
        time.sleep(0.1)


def seek(page, second):
    page.run(f"{VIDEO}.currentTime = {second}")
    until(page, f"!{VIDEO}.seeking && {VIDEO}.readyState >= 2")


def check_scene(page, films, second):
    """What is shown is what the film itself shows then."""
    shown = np.array(page.run(SHOWN), np.float32).reshape(9, 16, 3)
    with av.open(str(films / "tour.mp4")) as container:
        frame = next(f for f in container.decode(video=0) if f.time >= second - 1e-3)
    wanted = frame.reformat(width=16, height=9, format="rgb24", interpolation="AREA").to_ndarray()
    assert np.abs(shown - wanted).mean() < 12


def test_a_browser_plays_a_ladder_by_its_playlist(played, page, films):
    url, told = played
    if not page.run(f"{VIDEO}.canPlayType('application/vnd.apple.mpegurl')"):
        pytest.skip("this Chromium plays no HLS by itself: the next test plays the segments")
    page.run(f"{VIDEO}.src = '{url}{told['playlist']}'")
    until(page, f"{VIDEO}.readyState >= 2")
    assert page.run(f"{VIDEO}.duration") == pytest.approx(SECONDS, abs=0.1)
    for second in (1, 7.5, 4.5):
        seek(page, second)
        check_scene(page, films, second)
    page.run(f"{VIDEO}.currentTime = 7.5, {VIDEO}.play(), 1")
    until(page, f"{VIDEO}.ended")
    assert page.run(f"{VIDEO}.webkitAudioDecodedByteCount") > 0
    assert page.run(f"[{VIDEO}.videoWidth, {VIDEO}.videoHeight]") in ([160, 90], [320, 180])
    assert page.run(f"{VIDEO}.error") is None
    # One address was given: all else stands in the playlists, below it. The browser's own wish apart.
    asked = [address for address in page.requests if not address.endswith("/favicon.ico")]
    assert len(asked) > 3 and all("/v1/played/" in address for address in asked)


def test_a_script_plays_its_segments_in_any_order(played, page, films):
    url, told = played
    home = url + told["playlist"].rpartition("/")[0]
    large = told["renditions"][-1]
    found = page.run(BY_SCRIPT % (large["codecs"], f"{home}/{large['name']}"))
    count, start, end, error = found
    assert (count, error) == (1, None), page.problems
    assert (start, end) == pytest.approx((0, SECONDS), abs=0.1)
    for second in (0.5, 4, 8.5):
        seek(page, second)
        check_scene(page, films, second)


def test_its_thumbnails_are_cut_out_of_the_sprite(played, page, films):
    url, told = played
    text = httpx.get(url + told["thumbnails"]).text
    cue = text.split("\n\n")[2].splitlines()[-1]  # the one from 4 s on
    name, _, box = cue.partition("#xywh=")
    left, top, width, height = map(int, box.split(","))
    image = f"{url}{told['thumbnails'].rpartition('/')[0]}/{name}"
    page.run(f"document.body.innerHTML = '<img>', document.querySelector('img').src = '{image}'")
    until_loaded = "document.querySelector('img').naturalWidth > 0"
    deadline = time.monotonic() + 20
    while not page.run(until_loaded):
        assert time.monotonic() < deadline, page.problems
        time.sleep(0.1)
    high = page.run("document.querySelector('img').naturalHeight")
    assert page.run("document.querySelector('img').naturalWidth") >= left + width
    assert high >= top + height
