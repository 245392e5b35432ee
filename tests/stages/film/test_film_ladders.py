"""Facts about ladders: segments of four seconds that begin together, what is played back, and what bad films get."""

import errno
import io
import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from made import tree
from PIL import Image

import imgprep
from imgprep import dataset, film
from imgprep.app import cli
from imgprep.io.film import ladder, segments
from imgprep.sample.films import SOUND_RATE, write_film


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def grey(level: int, size_wh=(64, 36)) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


def made(path: Path, times: list[Fraction], sound_s: float = 0, size_wh=(64, 36), **how) -> Path:
    """A film that gets lighter and darker, with a tone."""
    frames = [grey(40 + 3 * (n % 60), size_wh) for n in range(len(times))]
    tone = np.sin(np.arange(round(sound_s * SOUND_RATE)) / 20).astype(np.float32) / 4
    write_film(path, frames, times, sound=tone if sound_s else None, **how)
    return path


def even(rate: Fraction | int, seconds: float) -> list[Fraction]:
    return [n / Fraction(rate) for n in range(round(seconds * Fraction(rate)))]


def row_of(ds: dataset.Dataset) -> dict:
    (row,) = ds.table("train").to_pylist()
    return row


def ladder_of(path: Path, out: Path, **how) -> tuple[dict, Path]:
    row = row_of(film.transcode(path, str(out), **{"sides": [36]} | how))
    return row, (out / row["playlist"]).parent


def lengths(playlist: Path) -> list[float]:
    return [float(found) for found in re.findall(r"#EXTINF:([\d.]+),", playlist.read_text())]


def segment_times(rendition: Path) -> list[tuple[float, float, bool, list[str]]]:
    """Of each segment alone behind the header: first and last picture, whether a keyframe begins it, and the kinds."""
    found = []
    for file in sorted(rendition.glob("*.m4s")):
        data = (rendition / "init.mp4").read_bytes() + file.read_bytes()
        with av.open(io.BytesIO(data)) as container:
            frames = list(container.decode(video=0))
        kinds = "".join(av.video.frame.PictureType(f.pict_type).name for f in frames)
        found.append((frames[0].time, frames[-1].time, frames[0].key_frame, kinds))
    return found


def played(playlist: Path, kind: str) -> list:
    with av.open(str(playlist)) as container:
        return list(container.decode(**{kind: 0}))


RATES = {"film": Fraction(24), "ntsc": Fraction(30000, 1001), "slow": Fraction(7, 5), "fast": Fraction(60)}


@pytest.mark.parametrize("rate", RATES)
def test_every_segment_but_the_last_is_four_seconds_and_begins_with_a_keyframe(rate, tmp_path):
    times = even(RATES[rate], 9.5)
    row, home = ladder_of(made(tmp_path / "a.mp4", times), tmp_path / "out", sides=[18, 36], thumbnail_s=None)
    assert row["segments"] == 3
    for name in ("18p", "36p"):
        assert lengths(home / name / "index.m3u8")[:-1] == [4, 4]
        assert sum(lengths(home / name / "index.m3u8")) == pytest.approx(row["duration_s"]) == pytest.approx(9.5, abs=1)
        found = segment_times(home / name)
        assert [(first, is_key) for first, _, is_key, _ in found] == [(0, True), (4, True), (8, True)]
        assert all(last < 4 * (n + 1) for n, (_, last, _, _) in enumerate(found))
        assert all(kinds[0] == "I" for *_, kinds in found)
        # No other keyframe, and nothing is lost: every frame, and those that are told again.
        shown = [frame.time for frame in played(home / name / "index.m3u8", "video")]
        assert shown == pytest.approx(sorted({float(t) for t in times} | {0.0, 4.0, 8.0}), abs=1e-4)


def test_an_uneven_rate_is_played_back_as_it_was(films, tmp_path):
    row, home = ladder_of(films / "screen.mkv", tmp_path / "out", sides=[240])
    before = [frame.time for frame in played(films / "screen.mkv", "video")]
    after = [frame.time for frame in played(home / "240p" / "index.m3u8", "video")]
    assert after == pytest.approx(sorted({*before, 4.0}), abs=1e-4)
    assert lengths(home / "240p" / "index.m3u8") == [4, pytest.approx(row["duration_s"] - 4, abs=1e-5)]


def test_a_segment_needs_none_before_it(films, tmp_path):
    _, home = ladder_of(films / "tour.mp4", tmp_path / "out", sides=[90])
    whole = [f.to_ndarray(format="gray") for f in played(home / "90p" / "index.m3u8", "video")]
    data = (home / "90p" / "init.mp4").read_bytes() + (home / "90p" / "00001.m4s").read_bytes()
    with av.open(io.BytesIO(data)) as container:
        alone = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
    assert np.array_equal(np.stack(alone), np.stack(whole[96:192]))


def test_pictures_and_sound_come_back_as_they_were(films, tmp_path):
    row, home = ladder_of(films / "tour.mp4", tmp_path / "out", sides=[180, 360], crf=16)
    assert [r["name"] for r in row["renditions"]] == ["180p", "360p"]
    assert row["duration_s"] == pytest.approx(9, abs=0.05)
    before = [f.to_ndarray(format="rgb24") for f in played(films / "tour.mp4", "video")]
    after = [f.to_ndarray(format="rgb24") for f in played(home / "360p" / "index.m3u8", "video")]
    assert len(after) == len(before) == 216
    worst = max(np.abs(a.astype(int) - b).mean() for a, b in zip(after[::24], before[::24], strict=True))
    assert worst < 3
    for name in ("180p", "360p"):
        sound = np.concatenate([f.to_ndarray()[0] for f in played(home / name / "index.m3u8", "audio")])
        assert len(sound) == pytest.approx(9 * SOUND_RATE, abs=2048)
        for scene, hertz in enumerate((440, 660, 550)):
            part = sound[(3 * scene + 1) * SOUND_RATE :][:SOUND_RATE]
            assert np.abs(np.fft.rfft(part)).argmax() == hertz


def test_sound_begins_and_stays_with_the_pictures(tmp_path):
    # White and a tone from second 2 to 3, of 10.
    frames = [grey(235 if 48 <= n < 72 else 16) for n in range(240)]
    tone = np.zeros(10 * SOUND_RATE, np.float32)
    tone[2 * SOUND_RATE : 3 * SOUND_RATE] = np.sin(np.arange(SOUND_RATE) / 10) / 2
    write_film(tmp_path / "a.mp4", frames, even(24, 10), sound=tone)
    _, home = ladder_of(tmp_path / "a.mp4", tmp_path / "out")
    lit = [f.time for f in played(home / "36p" / "index.m3u8", "video") if f.to_ndarray(format="gray").mean() > 128]
    heard = np.concatenate([f.to_ndarray()[0] for f in played(home / "36p" / "index.m3u8", "audio")])
    loud = np.flatnonzero(np.abs(heard) > 0.1) / SOUND_RATE
    assert (lit[0], lit[-1]) == pytest.approx((2, 3 - 1 / 24))
    assert (loud[0], loud[-1]) == pytest.approx((2, 3), abs=0.03)


def check_sound(rendition: Path, whole_s: float) -> None:
    """Each segment holds the sound of its own four seconds, but for half a second at its edges."""
    for number, file in enumerate(sorted(rendition.glob("*.m4s"))):
        data = (rendition / "init.mp4").read_bytes() + file.read_bytes()
        with av.open(io.BytesIO(data)) as container:
            times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
        assert min(times) == pytest.approx(4 * number, abs=0.6)
        assert max(times) == pytest.approx(min(whole_s, 4 * number + 4), abs=0.6)


@pytest.mark.parametrize("every_s", [2, 3, 4, 7])
def test_slides_and_what_is_said_about_them_stand_in_one_segment(every_s, tmp_path):
    times = [Fraction(every_s * n) for n in range(5)]
    path = made(tmp_path / "a.mkv", times, sound_s=4 * every_s + 1)
    row, home = ladder_of(path, tmp_path / "out", thumbnail_s=None)
    assert row["duration_s"] == pytest.approx(4 * every_s + 1, abs=0.05)
    shown = [frame.time for frame in played(home / "36p" / "index.m3u8", "video")]
    assert {float(time) for time in times} <= {*shown}
    check_sound(home / "36p", row["duration_s"])


def test_the_picture_stays_while_sound_goes_on(tmp_path):
    row, home = ladder_of(made(tmp_path / "a.mp4", even(24, 1), sound_s=9), tmp_path / "out")
    assert row["duration_s"] == pytest.approx(9, abs=0.05) and lengths(home / "36p" / "index.m3u8")[:2] == [4, 4]
    shown = [f.time for f in played(home / "36p" / "index.m3u8", "video")]
    # Beside sound it is told again and again, so that each segment gets its own sound.
    assert {4, 8} <= {*shown} and np.diff(shown[24:]).max() == pytest.approx(0.25, abs=1e-3)
    check_sound(home / "36p", 9)
    samples = sum(f.samples for f in played(home / "36p" / "index.m3u8", "audio"))
    assert samples == pytest.approx(9 * SOUND_RATE, abs=2048)


def test_the_master_says_what_the_renditions_are(films, tmp_path):
    row, home = ladder_of(films / "tour.mp4", tmp_path / "out", sides=[90, 180])
    text = (home / "master.m3u8").read_text()
    for rendition in row["renditions"]:
        width, height, name = rendition["width"], rendition["height"], rendition["name"]
        line, uri = re.search(rf"#EXT-X-STREAM-INF:(.*RESOLUTION={width}x{height}.*)\n(.*)", text).groups()
        assert uri == f"{name}/index.m3u8" and "FRAME-RATE=24.000" in line
        assert re.search(r'CODECS="avc1\.64[0-9a-f]{4},mp4a\.40\.2"', line)
        sizes = [file.stat().st_size for file in sorted((home / name).glob("*.m4s"))]
        peak = max(8 * size / length for size, length in zip(sizes, lengths(home / uri), strict=True))
        assert f"BANDWIDTH={rendition['bandwidth']}," in line and rendition["bandwidth"] == pytest.approx(peak, abs=1)
    with av.open(str(home / "master.m3u8")) as container:
        assert {s.height for s in container.streams.video} == {90, 180}


def test_thumbnails_show_what_is_seen_then(films, tmp_path):
    row, home = ladder_of(films / "tour.mp4", tmp_path / "out", sides=[90], thumbnail_s=0.25)
    cue = re.compile(r"(\S+) --> (\S+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)")
    cues = cue.findall((tmp_path / "out" / row["thumbnails"]).read_text())
    assert len(cues) == 36 and cues[0][:2] == ("00:00:00.000", "00:00:00.250") and cues[-1][1] == "00:00:09.000"
    shown = [cv2.resize(f.to_ndarray(format="rgb24"), (160, 90), interpolation=cv2.INTER_AREA)
             for f in played(films / "tour.mp4", "video")[::6]]  # fmt: skip
    assert {c[2] for c in cues} == {"sprite-000.jpg", "sprite-001.jpg"}
    for wanted, (_, _, name, *box) in zip(shown, cues, strict=True):
        left, top, width, height = map(int, box)
        thumb = np.asarray(Image.open(home / name))[top : top + height, left : left + width]
        assert np.abs(thumb.astype(int) - wanted).mean() < 8


@pytest.mark.parametrize(
    "size_wh, sides, wanted",
    [
        ((1280, 720), (360, 720, 1080), [(640, 360), (1280, 720)]),
        ((500, 500), (360, 720, 1080), [(360, 360), (500, 500)]),
        ((101, 301), (360,), [(100, 300)]),
        ((853, 481), (360, 361), [(638, 360)]),
        ((720, 1280), (360,), [(360, 640)]),
        ((3, 2000), (360,), [(2, 2000)]),
    ],
)
def test_renditions_are_even_and_never_larger_than_the_film(size_wh, sides, wanted):
    assert ladder.rung_sizes(size_wh, sides) == wanted


def test_a_film_that_lay_is_upright_in_its_ladder(films, tmp_path):
    row, home = ladder_of(films / "phone.mov", tmp_path / "out", sides=[180])
    upright = [np.rot90(f.to_ndarray(format="rgb24"), -1) for f in played(films / "phone.mov", "video")]
    shown = [f.to_ndarray(format="rgb24") for f in played(home / "180p" / "index.m3u8", "video")]
    assert (row["width"], row["height"]) == (180, 320) == shown[0].shape[1::-1]
    assert np.abs(upright[10].astype(int) - shown[10]).mean() < 6
    assert row["audio_codec"] is None and "mp4a" not in (home / "master.m3u8").read_text()


@pytest.mark.parametrize("pixels, level", [("yuvj420p", 250), ("yuv444p", 128), ("yuv422p10le", 60), ("gray", 200)])
def test_shades_stay_what_they_are(pixels, level, tmp_path):
    codec = "mjpeg" if pixels == "yuvj420p" else "ffv1"
    write_film(tmp_path / "a.mkv", [grey(level)] * 12, even(24, 0.5), codec=codec, pixels=pixels,
               tick_s=Fraction(1, 24))  # fmt: skip
    _, home = ladder_of(tmp_path / "a.mkv", tmp_path / "out")
    shown = played(home / "36p" / "index.m3u8", "video")[5].to_ndarray(format="rgb24")
    assert np.abs(shown.astype(int) - level).max() <= 3


def test_av1_where_the_encoder_is_there(tmp_path):
    path = made(tmp_path / "a.mkv", even(6, 6), sound_s=6, size_wh=(96, 64))
    row, home = ladder_of(path, tmp_path / "out", codec="av1", sides=[64])
    assert re.fullmatch(r"av01\.0\.\d\dM\.08,mp4a\.40\.2", row["renditions"][0]["codecs"])
    assert [first for first, _, is_key, _ in segment_times(home / "64p") if is_key] == [0, 4]
    assert lengths(home / "64p" / "index.m3u8") == [4, pytest.approx(2, abs=0.2)]


def test_it_is_made_once_and_a_new_film_alone_is_made_anew(films, tmp_path, capsys):
    home = tmp_path / "films"
    home.mkdir()
    shutil.copy(films / "screen.mkv", home)
    out = tmp_path / "out"
    first = film.transcode(home, str(out), sides=[36])
    before = tree(first.folder)
    film.transcode(home, str(out), sides=[36])
    assert "nothing to compute" in capsys.readouterr().out and tree(out) == before
    shutil.copy(films / "phone.mov", home)
    film.transcode(home, str(out), sides=[36])
    assert "1 of 2 rows to compute: new rows" in capsys.readouterr().out
    assert len(os.listdir(out / "ladders")) == 2
    # Another ladder of the same films takes the place of the first.
    film.transcode(home, str(out), sides=[18])
    assert {p.name for p in (out / "ladders").glob("*/*p")} == {"18p"} and len(os.listdir(out / "ladders")) == 2


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


HARMS = {
    "gone": ("36p/00001.m4s", Path.unlink, "36p/00001.m4s is missing"),
    "cut": ("36p/init.mp4", lambda f: f.write_bytes(f.read_bytes()[:-9]), "36p/init.mp4 has "),
    "a bit": ("sprite-000.jpg", flip, "sprite-000.jpg does not hold the bytes"),
    "the playlist": ("master.m3u8", Path.unlink, "master.m3u8 is missing"),
    "the list": ("files.json", flip, "whose list is damaged"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_ladder_that_was_damaged_is_noticed_and_made_anew(harm, films, tmp_path, capsys):
    name, act, told = HARMS[harm]
    home, out = tmp_path / "films", tmp_path / "out"
    home.mkdir()
    for one in ("screen.mkv", "phone.mov"):
        shutil.copy(films / one, home)
    film.transcode(home, str(out), sides=[36])
    before = tree(out / "ladders")
    assert cli.main(["check", str(out)]) == 0
    found = next(path for path in (out / "ladders").glob(f"*/{name}"))
    act(found)
    capsys.readouterr()
    assert cli.main(["check", str(out)]) == 1
    assert told in capsys.readouterr().out
    film.transcode(home, str(out), sides=[36])
    assert "1 of 2 rows to compute" in capsys.readouterr().out
    assert tree(out / "ladders") == before and cli.main(["check", str(out)]) == 0
    film.transcode(home, str(out), sides=[36])
    assert "nothing to compute" in capsys.readouterr().out


def test_processes_give_the_same_bytes(films, tmp_path):
    film.transcode(films, str(tmp_path / "here"), sides=[90])
    with imgprep.session("local", workers=2):
        film.transcode(films, str(tmp_path / "there"), sides=[90])
    assert tree(tmp_path / "here") == tree(tmp_path / "there")


class FullDisk(segments.SegmentFiles):
    """A disk on which only so many segments have room."""

    room = 3

    def _put(self, name, data):
        if len(self.nbytes) == self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super()._put(name, data)


def test_a_full_disk_is_a_sentence_and_leaves_no_half_of_a_ladder(tmp_path, monkeypatch):
    path, out = made(tmp_path / "a.mkv", even(24, 15), sound_s=15), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("imgprep.io.film.rung.SegmentFiles", FullDisk)
        with pytest.raises(RuntimeError, match="no space left on the disk: free some and run again"):
            film.transcode(path, str(out), sides=[36])
    assert not (out / "ladders").exists() and not os.listdir(out / ".imgprep" / "ladders")
    row, home = ladder_of(path, out)
    assert row["status"] == "ok" and len(list(home.glob("36p/*.m4s"))) == 4


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own with room for 160 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mounted, capture_output=True, timeout=20).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=20)


def test_a_disk_that_is_really_full_leaves_no_half_of_a_ladder(small_disk, tmp_path):
    noise = np.random.default_rng(1)
    frames = [noise.integers(0, 255, (180, 320, 3), np.uint8) for _ in range(60)]
    write_film(tmp_path / "a.mkv", frames, even(6, 10), qp="10")
    out = small_disk / "out"
    with imgprep.session("local", workers=1):
        with pytest.raises(RuntimeError, match="no space left on the disk: free some and run again"):
            film.transcode(tmp_path / "a.mkv", str(out), sides=[180])
        assert not (out / "ladders").exists() and not dataset.exists(str(out))
        more = ["mount", "-o", "remount,size=64m", str(small_disk)]
        subprocess.run(more, check=True, timeout=20)
        row, home = ladder_of(tmp_path / "a.mkv", out, sides=[180])
    assert sum(f.stat().st_size for f in home.rglob("*") if f.is_file()) > 200_000
    assert row["status"] == "ok" and len(list(home.glob("180p/*.m4s"))) == 3
    assert not (out / ".imgprep" / "ladders").exists()


def test_what_a_killed_run_left_is_removed(films, tmp_path):
    left = tmp_path / "out" / ".imgprep" / "ladders" / "1-abc"
    left.mkdir(parents=True)
    (left / "00000.m4s").write_bytes(b"half")
    _, home = ladder_of(films / "phone.mov", tmp_path / "out")
    assert not left.parent.exists() and home.exists()


def test_a_film_that_ends_early_has_no_ladder_unless_that_is_wanted(films, tmp_path):
    (tmp_path / "cut.mkv").write_bytes((films / "screen.mkv").read_bytes()[:-9_000])
    out = tmp_path / "out"
    row = row_of(film.transcode(tmp_path / "cut.mkv", str(out), sides=[36], max_failed=1))
    assert (row["status"], row["reason"], row["playlist"]) == ("failed", "truncated", None)
    assert not (out / "ladders").exists()
    kept = row_of(film.transcode(tmp_path / "cut.mkv", str(out), sides=[36], keep_truncated=True))
    assert kept["status"] == "ok" and kept["film_note"].startswith("the film ends after")
    assert (out / kept["playlist"]).exists() and kept["duration_s"] < 5.6


@pytest.mark.parametrize(
    "options, told",
    [
        ({"codec": "vp9"}, "codec is 'h264' or 'av1', not 'vp9'"),
        ({"sides": []}, "sides is a list"),
        ({"sides": [1]}, "sides is a list"),
        ({"sides": 360}, "sides is a list"),
        ({"crf": 99}, "crf is a whole number from 0 to 51, not 99"),
        ({"preset": "quick"}, "libx264 knows no preset 'quick'"),
        ({"thumbnail_s": 0}, "thumbnail_s is a number of seconds above 0"),
        ({"keep_truncated": 1}, "keep_truncated is true or false"),
    ],
)
def test_a_wrong_option_is_told_before_any_work(options, told, films, tmp_path):
    with pytest.raises(ValueError, match=told):
        film.transcode(films, str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="transcode into a local folder"):
        film.transcode(films, "s3://bucket/out")


@pytest.mark.corpus
@pytest.mark.slow
def test_real_films_are_played_back_frame_for_frame(corpus, tmp_path):
    ds = film.transcode(corpus / "video", str(tmp_path / "out"), sides=[120])
    rows = ds.table("train").to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        playlist = tmp_path / "out" / row["playlist"]
        count = len(played(Path(row["source"]), "video"))
        shown = played(playlist.parent / "120p" / "index.m3u8", "video")
        assert count <= len(shown) <= count + row["segments"]
        assert set(lengths(playlist.parent / "120p" / "index.m3u8")[:-1]) <= {4}
        assert (row["film_width"] < row["film_height"]) == (shown[0].width < shown[0].height)
