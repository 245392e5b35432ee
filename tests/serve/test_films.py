"""Films as objects: put by every door, seen by their poster, transcoded, played, deleted, backed up."""

import json
import os
import time
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from served import Served

from imgprep.io.stores import Store
from imgprep.picture import codec
from imgprep.sample.films import write_film
from imgprep.serve import objects, server, transcoding
from imgprep.serve.access import hashed_key
from imgprep.serve.backup import back_up, restore
from imgprep.serve.records import all_records, open_records
from imgprep.serve.remote import Client

SECONDS = 9
RATE = 12
LADDER = {"transcode": {"sides": [36], "thumbnail_s": 1}}
PIECE = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


def grey(level):
    return np.full((48, 64, 3), level, np.uint8)


def made(path: Path, seconds: float = SECONDS) -> Path:
    """A film that gets lighter, with a tone."""
    count = round(seconds * RATE)
    frames = [grey(40 + n % 180) for n in range(count)]
    tone = np.sin(np.arange(round(seconds * 48_000)) / 20).astype(np.float32) / 4
    write_film(path, frames, [Fraction(n, RATE) for n in range(count)], sound=tone)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    return made(tmp_path_factory.mktemp("film") / "a.mp4").read_bytes()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("media"))
    with server.start(out=out, workers=1, grpc_port=0) as found:
        yield found


@pytest.fixture(scope="module")
def client(here):
    with httpx.Client(base_url=here.url, timeout=60) as found:
        yield found


def ended(client, url, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.get(url).json()
        if job["status"] != "queued":
            return job
        time.sleep(0.1)
    raise AssertionError(f"the job did not end: {job}")


def transcoded(client, name, step=LADDER):
    answer = client.post(f"/v1/objects/{name}/steps", json={"steps": [step]})
    assert answer.status_code == 202, answer.text
    return ended(client, answer.headers["location"])["steps"][0]


def put(client, film, query=""):
    return client.put(f"/v1/objects{query}", content=film).json()


def uploaded(client, data, **headers):
    length = {"Upload-Length": str(len(data))}
    begun = client.post("/v1/uploads", headers=PIECE | length | headers)
    half = len(data) // 2
    for at, piece in ((0, data[:half]), (half, data[half:])):
        there = PIECE | {"Upload-Offset": str(at)}
        answer = client.patch(begun.headers["location"], headers=there, content=piece)
    return answer


def test_a_film_is_an_object_with_what_is_known_of_it(client, film):
    known = put(client, film, "?name=garden.mp4")
    assert (known["format"], known["media"], known["name"]) == ("MP4", "film", "garden.mp4")
    assert (known["width"], known["height"], known["codec"]) == (64, 48, "h264")
    assert known["duration_s"] == pytest.approx(SECONDS, abs=0.1) and known["audio_codec"] == "aac"
    assert client.get(f"/v1/objects/{known['id']}").json() == known


def test_its_bytes_come_back_whole_and_in_ranges(client, film):
    url = f"/v1/objects/{put(client, film)['id']}/content"
    whole = client.get(url)
    assert whole.content == film and whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    assert "sandbox" in whole.headers["content-security-policy"]
    some = client.get(url, headers={"Range": "bytes=100-199"})
    assert (some.status_code, some.content) == (206, film[100:200])
    assert some.headers["content-range"] == f"bytes 100-199/{len(film)}"
    assert client.get(url, headers={"Range": "bytes=-10"}).content == film[-10:]
    beyond = client.get(url, headers={"Range": f"bytes={len(film)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(film)}")


def test_a_large_film_is_sent_piece_by_piece(client, film, monkeypatch):
    monkeypatch.setattr("imgprep.serve.places.SENT_BYTES", 1000)
    monkeypatch.setattr("imgprep.serve.ranges.SENT_BYTES", 1000)
    url = f"/v1/objects/{put(client, film)['id']}/content"
    whole = client.get(url)
    assert whole.content == film and whole.headers["content-length"] == str(len(film))
    assert client.get(url, headers={"Range": "bytes=500-4999"}).content == film[500:5000]


def test_picture_operations_see_its_poster(client, film):
    name = put(client, film)["id"]
    small = codec.decode(client.get(f"/v1/objects/{name}/fit?max_side=32&format=png").content)
    assert small.shape == (24, 32, 3)
    # A tenth of the film is its frame number 11.
    assert abs(int(small[12, 16, 0]) - (40 + 11)) <= 4
    assert name in client.get("/v1/album").text


def test_every_door_keeps_the_same_film(here, client, film, monkeypatch):
    monkeypatch.setattr(objects, "SMALL_BYTES", 10_000)  # so that this one counts as large
    other = made(Path(here.service.settings.out) / "b.mp4", 2).read_bytes()
    named = {"Upload-Metadata": "filename Z2FyZGVuLm1wNA==,filetype dmlkZW8vbXA0"}
    by_pieces = uploaded(client, other, **named).headers["object-id"]
    known = client.get(f"/v1/objects/{by_pieces}").json()
    assert (known["media"], known["nbytes"], known["name"]) == ("film", len(other), "garden.mp4")
    assert client.get(f"/v1/objects/{by_pieces}/content").content == other
    assert client.get(f"/v1/objects/{by_pieces}/fit?max_side=32").status_code == 200
    stub = Client(f"127.0.0.1:{here.service.grpc_port}")
    assert stub.put(other) == by_pieces == put(client, other)["id"]
    third = made(Path(here.service.settings.out) / "c.mp4", 1).read_bytes()
    assert client.get(f"/v1/objects/{stub.put(third)}").json()["media"] == "film"
    stub.close()


def test_a_ladder_is_made_watched_and_played(client, film):
    name = put(client, film)["id"]
    step = transcoded(client, name)
    assert step["status"] == "ok" and step["progress"].endswith(f" of {SECONDS} s")
    playlist = step["results"]["playlist"]
    text = client.get(playlist)
    assert text.headers["content-type"] == "application/vnd.apple.mpegurl" and "36p/index.m3u8" in text.text
    # A player's own library, over HTTP, from the one address.
    with av.open(f"{client.base_url}".rstrip("/") + playlist) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == SECONDS * RATE and times[-1] == pytest.approx(SECONDS - 1 / RATE, abs=0.01)
    told = client.get(step["result"]).json()
    assert told["segments"] == 3 and told["renditions"][0]["height"] == 36
    kinds = {path.rpartition(".")[2] for path in told["files"]}
    assert kinds == {"m3u8", "m4s", "mp4", "vtt", "jpg"}
    for path, nbytes in told["files"].items():
        answer = client.get(f"{step['result']}/{path}")
        assert (answer.status_code, len(answer.content)) == (200, nbytes)
        assert "octet-stream" not in answer.headers["content-type"]
    segment = f"{step['result']}/36p/00001.m4s"
    some = client.get(segment, headers={"Range": "bytes=4-7"})
    assert (some.status_code, len(some.content)) == (206, 4)
    etag = some.headers["etag"]
    assert client.get(segment, headers={"If-None-Match": etag}).status_code == 304
    sprite = client.get(f"{step['result']}/sprite-000.jpg").content
    assert codec.decode(sprite).shape[2] == 3
    assert "#xywh=" in client.get(step["results"]["thumbnails"]).text


@pytest.mark.parametrize("path", ["nosuch.m4s", "../x", "..%2f..%2fmedia.db", "36p/..%2fmaster.m3u8"])
def test_what_the_ladder_does_not_list_is_not_served(client, film, path):
    result = transcoded(client, put(client, film)["id"])["result"]
    assert client.get(f"{result}/{path}").status_code == 404
    assert client.get(f"/v1/results/{'0' * 64}/{path}").status_code == 404


def test_with_it_goes_all_that_was_made_of_it(client, film, here):
    name = put(client, film)["id"]
    step = transcoded(client, name)
    store = here.service.store
    ladder = step["result"].rpartition("/")[2]
    assert len(store.list(f"files/{ladder[:2]}/{ladder}")) > 5
    poster = client.get(f"/v1/objects/{name}/fit?max_side=20")
    assert poster.status_code == 200
    assert client.delete(f"/v1/objects/{name}").status_code == 204
    assert store.list(f"files/{ladder[:2]}/{ladder}") == [] and name not in str(store.list("objects"))
    assert client.get(step["results"]["playlist"]).status_code == 404
    assert client.get(f"{step['result']}/play").status_code == 404
    again = transcoded(client, put(client, film)["id"])
    assert again["results"] == step["results"]
    assert client.get(step["results"]["playlist"]).status_code == 200


def test_a_film_that_is_deleted_meanwhile_leaves_nothing(client, film, here, monkeypatch):
    before = set(here.service.store.list("files"))
    other = made(Path(here.service.settings.out) / "d.mp4", 3).read_bytes()
    name = put(client, other)["id"]
    real = transcoding.run_program

    async def slow(*given, **options):
        row = await real(*given, **options)
        await here_delete(name)
        return row

    async def here_delete(gone):
        await here.service.objects.delete(gone)

    monkeypatch.setattr(transcoding, "run_program", slow)
    step = transcoded(client, name)
    assert (step["status"], step["reason"]) == ("failed", "missing_file")
    assert set(here.service.store.list("files")) == before


BROKEN = {
    "cut": (lambda data: data[: len(data) // 3], "truncated"),
    "hollow": (lambda data: b"\x00\x00\x00\x18ftypisom" + bytes(2000), "corrupt"),
    "matroska": (lambda data: b"\x1a\x45\xdf\xa3" + bytes(300), "truncated"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_film_is_refused_with_its_reason_at_every_door(how, here, client, film):
    change, reason = BROKEN[how]
    data = change(film)
    answer = client.put("/v1/objects", content=data)
    assert (answer.status_code, answer.json()["reason"]) == (422, reason)
    by_pieces = uploaded(client, data)
    assert (by_pieces.status_code, by_pieces.json()["reason"]) == (422, reason)


def test_what_is_wrong_further_on_is_the_step_s_reason(client, film, tmp_path):
    whole = made(tmp_path / "whole.mkv", 6).read_bytes()
    name = put(client, whole[: 2 * len(whole) // 3])["id"]
    step = transcoded(client, name)
    assert (step["status"], step["reason"]) == ("failed", "truncated") and "of 5.9" in step["error"]
    kept = transcoded(client, name, {"transcode": {"sides": [36], "keep_truncated": True}})
    assert kept["status"] == "ok"
    assert "ends after" in client.get(kept["result"]).json()["note"]


WRONG = [
    {"nosuch": 1}, {"sides": []}, {"sides": [100_000]}, {"sides": "360"}, {"sides": [10] * 9},
    {"codec": "vp9"}, {"thumbnail_s": 0}, {"thumbnail_s": "1"},
]  # fmt: skip


@pytest.mark.parametrize("options", WRONG)
def test_wrong_options_are_refused_before_the_job(client, options):
    steps = {"steps": [{"transcode": options}]}
    answer = client.post(f"/v1/objects/{'0' * 64}/steps", json=steps)
    assert (answer.status_code, answer.json()["reason"]) == (422, "wrong_option")


@pytest.mark.parametrize("options, told", [({"crf": 99}, "crf is"), ({"preset": "-x"}, "preset")])
def test_what_the_encoder_refuses_is_the_step_s_reason(client, film, options, told):
    step = transcoded(client, put(client, film)["id"], {"transcode": options})
    assert step["status"] == "failed" and told in step["error"]


def test_a_picture_is_not_transcoded(tmp_path, film):
    png = codec.encode(grey(9))
    out, steps = str(tmp_path), ("grey", LADDER)
    with server.start(out=out, workers=1, steps=steps) as here:
        with httpx.Client(base_url=here.url, timeout=60) as client:
            picture = put(client, png)
            assert [s["op"] for s in ended(client, picture["job"])["steps"]] == ["grey"]
            job = ended(client, put(client, film)["job"])
            assert [s["op"] for s in job["steps"]] == ["grey", "transcode"] and job["status"] == "ok"
            step = transcoded(client, picture["id"])
            assert (step["status"], step["reason"]) == ("failed", "not_a_film")


def test_a_player_without_a_key_plays_by_a_signed_address(tmp_path, film):
    keys = tmp_path / "keys"
    keys.write_text(hashed_key("me", "write", "secret"))
    with server.start(out=str(tmp_path / "media"), workers=1, keys_file=str(keys)) as here:
        mine = {"Authorization": "Bearer secret"}
        with httpx.Client(base_url=here.url, timeout=60, headers=mine) as client:
            step = transcoded(client, put(client, film)["id"])
            told = client.get(f"{step['result']}/play").json()
        anybody = httpx.Client(base_url=here.url, timeout=60)
        assert anybody.get(step["results"]["playlist"]).status_code == 401
        assert anybody.get(f"{step['result']}/play").status_code == 401
        with av.open(here.url + told["playlist"]) as container:
            assert sum(1 for _ in container.decode(video=0)) == SECONDS * RATE
        for what in ("thumbnails", "poster"):
            assert anybody.get(told[what]).status_code == 200
        other = told["playlist"].replace(step["result"].rpartition("/")[2], "0" * 64)
        assert anybody.get(other).status_code == 401
        assert anybody.get(told["playlist"].replace(str(told["expires"]), "1")).status_code == 401
        anybody.close()


def test_a_backup_carries_films_and_ladders(tmp_path, film):
    out = tmp_path / "media"
    with server.start(out=str(out), workers=1) as here, httpx.Client(base_url=here.url) as client:
        name = put(client, film)["id"]
        step = transcoded(client, name)
        files = client.get(step["result"]).json()["files"]
        before = {path: client.get(f"{step['result']}/{path}").content for path in files}
    store, records = Store(f"{out}/store"), open_records(f"{out}/media.db")
    counts = back_up(store, records, str(tmp_path / "copy"))
    assert counts["objects"] == len(files) + 3 and counts["gone"] == 0  # film, poster, ladder
    records.close()
    new = tmp_path / "new"
    others = open_records(f"{new}/media.db")
    restore(str(tmp_path / "copy"), Store(f"{new}/store"), others)
    others.close()
    with server.start(out=str(new), workers=1) as here, httpx.Client(base_url=here.url) as client:
        assert client.get(f"/v1/objects/{name}/content").content == film
        assert {path: client.get(f"{step['result']}/{path}").content for path in files} == before


def test_a_process_that_says_nothing_is_ended(client, film, monkeypatch):
    monkeypatch.setattr(transcoding, "SILENCE_S", 0.05)
    step = transcoded(client, put(client, film)["id"], {"transcode": {"sides": [20]}})
    assert (step["status"], step["reason"]) == ("failed", "took_too_long")


@pytest.mark.slow
def test_a_stopped_server_takes_its_films_up_again(tmp_path, film):
    with Served(tmp_path, "--workers", "1") as here, here.client() as client:
        job = put(client, film, f"?steps={json.dumps([LADDER])}")["job"]
    with Served(tmp_path, "--workers", "1") as here, here.client() as client:
        step = ended(client, job)["steps"][0]
        assert step["status"] == "ok" and client.get(step["results"]["playlist"]).status_code == 200
    records = open_records(str(tmp_path / "media" / "media.db"))
    assert [r["status"] for r in all_records(records, "job")] == ["ok"]
    records.close()
    assert os.listdir(tmp_path / "media" / "store" / "files")
