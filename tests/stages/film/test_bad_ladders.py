"""Facts about ladders of bad films: each gets a reason or a sentence, and nothing half of a ladder is left."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import imgprep
from imgprep import dataset, film
from imgprep.sample.films import write_film


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def grey(level: int) -> np.ndarray:
    return np.full((36, 64, 3), level, np.uint8)


def short(path: Path, **how) -> Path:
    """A second of a film."""
    times = [Fraction(n, 24) for n in range(24)]
    write_film(path, [grey(8 * n) for n in range(24)], times, **how)
    return path


def refused(path: Path, out: Path, **how) -> dict:
    """The row of a film that gets no ladder, held to leave nothing of one behind."""
    ds = film.transcode(path, str(out), **{"sides": [36], "max_failed": 1} | how)
    (row,) = ds.table("train").to_pylist()
    assert (row["status"], row["playlist"]) == ("failed", None)
    assert not (out / "ladders").exists()
    assert not [file for file in out.rglob("*") if file.suffix in (".m4s", ".m3u8", ".mp4", ".vtt")]
    return row


def streams(path: Path, sizes: list[tuple[int, int]], codec: str = "libx264", **colour: int) -> Path:
    """A film with a picture in each of its video streams."""
    with av.open(str(path), "w") as container:
        for width, height in sizes:
            stream = container.add_stream(codec, rate=24)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuv420p10le" if colour else "yuv420p"
            for name, value in colour.items():
                setattr(stream.codec_context, name, value)
        for stream in container.streams:
            image = np.full((stream.height, stream.width, 3), 90, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("cut", [-40, -4, 0, 40], ids=["in its pictures", "behind them", "in a head", "in it"])
def test_an_mp4_without_its_table_of_contents_is_truncated(cut, tmp_path):
    data = short(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"moov") + cut])
    row = refused(tmp_path / "cut.mp4", tmp_path / "out")
    assert (row["reason"], row["error"]) == ("truncated", "the film ends before its table of contents")


def test_an_mp4_whose_table_of_contents_is_damaged_is_corrupt(tmp_path):
    data = bytearray(short(tmp_path / "a.mp4").read_bytes())
    start = data.index(b"moov") + 4
    data[start:] = bytes(len(data) - start)
    (tmp_path / "a.mp4").write_bytes(data)
    row = refused(tmp_path / "a.mp4", tmp_path / "out")
    assert (row["reason"], row["error"]) == ("corrupt", "the film's table of contents is damaged, or empty")


def test_ten_hours_of_few_frames_are_ten_hours(tmp_path, monkeypatch):
    """A frame in 75 minutes: each of the nine thousand segments is there, and small."""
    # Nine thousand files on a disk that others write to, too, take a minute.
    monkeypatch.setattr(os, "fsync", lambda file: None)
    times = [Fraction(4500 * n) for n in range(9)]
    write_film(tmp_path / "a.mkv", [grey(20 * n) for n in range(9)], times)
    ds = film.transcode(tmp_path / "a.mkv", str(tmp_path / "out"), sides=[18], thumbnail_s=None)
    (row,) = ds.table("train").to_pylist()
    assert (row["status"], row["segments"]) == ("ok", 9001)
    home = (tmp_path / "out" / row["playlist"]).parent / "18p"
    segments = sorted(home.glob("*.m4s"))
    assert len(segments) == 9001 and sum(file.stat().st_size for file in segments) < 8_000_000
    text = (home / "index.m3u8").read_text()
    assert text.count("#EXTINF:4.00000") == 9000 and text.endswith("#EXT-X-ENDLIST\n")


@pytest.mark.parametrize("is_said", [True, False])
def test_more_than_max_hours_is_a_reason(is_said, tmp_path):
    times = [Fraction(0), Fraction(1), Fraction(40 * 3600)]
    write_film(tmp_path / "a.mkv", [grey(20 * n) for n in range(3)], times)
    if not is_said:
        # It says two seconds, and its frames have other times.
        data = (tmp_path / "a.mkv").read_bytes()
        assert data.count(b"40:00:00.0") == 1
        (tmp_path / "a.mkv").write_bytes(data.replace(b"40:00:00.0", b"00:00:02.0"))
    row = refused(tmp_path / "a.mkv", tmp_path / "out")
    told = "the film is 40.0 hours long, more than max_hours=24"
    assert (row["reason"], row["error"]) == ("too_long", told)


def test_more_hours_let_a_long_film_pass(tmp_path):
    path = short(tmp_path / "a.mp4")
    assert refused(path, tmp_path / "out", max_hours=0.0001)["reason"] == "too_long"
    assert film.transcode(path, str(tmp_path / "out"), sides=[36]).table("train")["status"].to_pylist() == ["ok"]
    with pytest.raises(ValueError, match="max_hours is a number of hours above 0, or None, not 0"):
        film.transcode(path, str(tmp_path / "out"), max_hours=0)


def with_pauses(path: Path, starts_s: list[int], pictures_s: list[int]) -> Path:
    """A second of a tone at each of some times, and frames at others."""
    tone = np.sin(np.arange(48_000, dtype=np.float32) / 20)[None] / 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        voice = container.add_stream("aac", rate=48_000, layout="mono")
        for start in sorted({*starts_s, *pictures_s}):
            if start in pictures_s:
                frame = av.VideoFrame.from_ndarray(grey(50), format="rgb24")
                frame.pts, frame.time_base = 1000 * start, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            if start in starts_s:
                sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                sound.sample_rate, sound.time_base = 48_000, Fraction(1, 48_000)
                sound.pts = 48_000 * start
                container.mux(voice.encode(sound))
        container.mux(stream.encode())
        container.mux(voice.encode())
    return path


@pytest.mark.parametrize("pictures_s", [[0, 120], [0, 1]])
def test_sound_after_a_long_silence_is_heard_when_it_was(pictures_s, tmp_path):
    path = with_pauses(tmp_path / "a.mkv", [0, 120], pictures_s)
    how = {"sides": [36], "thumbnail_s": None, "keep_truncated": True}
    (row,) = film.transcode(path, str(tmp_path / "out"), **how).table("train").to_pylist()
    assert (row["status"], row["segments"]) == ("ok", 31)
    home = (tmp_path / "out" / row["playlist"]).parent / "36p"
    with av.open(str(home / "index.m3u8")) as shown:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in shown.decode(audio=0)])
    loud_s = np.unique(np.flatnonzero(np.abs(heard) > 0.2) // 48_000)
    assert len(heard) / 48_000 == pytest.approx(121, abs=0.1)
    assert set(loud_s) <= {0, 1, 120, 121} and {0, 120} <= set(loud_s)


def test_sound_hours_after_the_film_is_a_reason(tmp_path):
    path = with_pauses(tmp_path / "a.mkv", [0, 3 * 3600], [0, 1])
    row = refused(path, tmp_path / "out", max_hours=2)
    assert row["reason"] == "too_long" and "more than max_hours=2" in row["error"]


def test_a_film_that_promises_frames_and_has_none(tmp_path):
    data = bytearray(short(tmp_path / "a.mp4").read_bytes())
    begin = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    (tmp_path / "a.mp4").write_bytes(data)
    row = refused(tmp_path / "a.mp4", tmp_path / "out")
    assert (row["reason"], row["error"]) == ("truncated", "the film promises 24 frames and holds none")
    kept = refused(tmp_path / "a.mp4", tmp_path / "kept", keep_truncated=True)
    assert kept["reason"] == "truncated"


@pytest.mark.parametrize("data, reason", [(b"", "empty"), (b"no film at all " * 99, "not_a_film")])
def test_what_is_no_film(data, reason, tmp_path):
    (tmp_path / "a.mp4").write_bytes(data)
    assert refused(tmp_path / "a.mp4", tmp_path / "out")["reason"] == reason


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:4,\n{}\n", "ffconcat version 1.0\nfile '{}'\n"])
def test_a_list_that_names_other_files_is_no_film(text, tmp_path):
    other = short(tmp_path / "other.mp4")
    (tmp_path / "a.mp4").write_text(text.format(other))
    assert refused(tmp_path / "a.mp4", tmp_path / "out")["reason"] == "not_a_film"


def test_sound_alone_has_no_ladder(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        voice = container.add_stream("aac", rate=48_000, layout="mono")
        silence = np.zeros((1, 48_000), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(voice.encode(frame))
        container.mux(voice.encode())
    row = refused(tmp_path / "a.mp4", tmp_path / "out")
    assert row["reason"] == "not_a_film" and "sound, and at most a cover" in row["error"]


def test_a_turn_of_45_degrees_is_not_guessed(tmp_path):
    row = refused(short(tmp_path / "a.mp4", turned_by=45), tmp_path / "out")
    assert row["reason"] == "unsupported_format"
    assert row["error"] == "the film is turned by 45 degrees: only quarter turns are made upright"


@pytest.mark.parametrize("curve, name", [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_said_and_not_guessed(curve, name, tmp_path):
    path = streams(tmp_path / "hdr.mkv", [(64, 36)], "libx265", color_trc=curve, color_primaries=9)
    row = refused(path, tmp_path / "out")
    assert row["reason"] == "unsupported_format" and f"HDR ({name})" in row["error"]


def test_frames_with_too_many_pixels_are_not_decoded(tmp_path):
    row = refused(short(tmp_path / "a.mp4"), tmp_path / "out", max_pixels=64 * 35)
    assert (row["reason"], row["error"]) == (
        "too_many_pixels", "frames of 64 x 36 have more than 2,240 pixels",
    )  # fmt: skip


def test_of_two_films_in_a_file_the_first_is_taken_and_that_is_said(tmp_path):
    path = streams(tmp_path / "two.mkv", [(64, 36), (32, 24)])
    (row,) = film.transcode(path, str(tmp_path / "out"), sides=[36]).table("train").to_pylist()
    assert (row["status"], row["film_width"]) == ("ok", 64)
    assert row["film_note"] == "the first film of the file; 1 more is in it"
    assert dataset.open(str(tmp_path / "out")).summary() == "1 of 1 film ready"
    with av.open(str(tmp_path / "out" / row["playlist"])) as shown:
        assert {(stream.width, stream.height) for stream in shown.streams.video} == {(64, 36)}


def test_a_bad_film_costs_no_other_its_ladder(tmp_path):
    (tmp_path / "films").mkdir()
    short(tmp_path / "films" / "good.mp4")
    (tmp_path / "films" / "bad.mp4").write_bytes(b"no film at all " * 99)
    ds = film.transcode(tmp_path / "films", str(tmp_path / "out"), sides=[36], max_failed=1)
    found = {row["file_name"]: row for row in ds.table("train").to_pylist()}
    assert found["bad.mp4"]["reason"] == "not_a_film"
    assert found["good.mp4"]["status"] == "ok"
    assert (tmp_path / "out" / found["good.mp4"]["playlist"]).is_file()
    assert len(list((tmp_path / "out" / "ladders").iterdir())) == 1
