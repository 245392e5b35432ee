"""Facts about frames that are taken out of films: which, how they look, and what bad films get."""

import io
import shutil
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import datasets
import numpy as np
import pytest
from made import tree
from PIL import Image

import imgprep
from imgprep import dataset, film
from imgprep.failures import RunStopped
from imgprep.rows import sources
from imgprep.sample.films import write_film


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def quarters(size_wh=(64, 48)) -> np.ndarray:
    """Red, green, blue and white, so that it can be seen which side is up: (H, W, 3)."""
    width, height = size_wh
    colours = np.array([[[200, 30, 30], [30, 200, 30]], [[30, 30, 200], [230, 230, 230]]], np.uint8)
    return cv2.resize(colours, (width, height), interpolation=cv2.INTER_NEAREST)


def short(path: Path, image: np.ndarray | None = None, count: int = 24, **how) -> Path:
    """A film of one picture, a second long."""
    frames = [quarters() if image is None else image] * count
    write_film(path, frames, [Fraction(n, 24) for n in range(count)], **how)
    return path


def rows_of(ds: dataset.Dataset) -> list[dict]:
    return [row for split in ds.splits for row in ds.table(split).to_pylist()]


def only(path: Path, out: Path, **how) -> dict:
    """The one row of a film that gives no frame."""
    how = how or {"every_s": 1}
    (row,) = rows_of(film.extract_frames(path, str(out), max_failed=1, **how))
    return row


def picture(ds: dataset.Dataset, row: dict) -> np.ndarray:
    data = dataset.Reader(ds._folder).picture(row["file"], row["row"])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_folder_of_films_becomes_rows_of_frames_with_their_times(films, tmp_path):
    ds = film.extract_frames(films, str(tmp_path / "out"), every_s=1)
    rows = rows_of(ds)
    by_film = {name: [r for r in rows if r["file_name"] == name] for name in ("tour.mp4", "phone.mov", "screen.mkv")}
    tour = by_film["tour.mp4"]
    assert [r["time_s"] for r in tour] == [*range(9)] and [r["index"] for r in tour] == [*range(9)]
    assert {r["image_id"] for r in tour} == {f"{tour[0]['parent_id']}-{n}" for n in range(9)}
    assert {(r["width"], r["height"], r["film_codec"], r["film_rate"]) for r in tour} == {(640, 360, "h264", 24.0)}
    assert {(r["audio_codec"], r["audio_rate"], r["audio_channels"]) for r in tour} == {("aac", 48_000, 1)}
    assert tour[0]["film_duration_s"] == pytest.approx(9, abs=0.05)
    assert [(r["width"], r["height"], r["film_turned_by"]) for r in by_film["phone.mov"]] == [(180, 320, 90)] * 2
    # At n² / 150 s: the first at or after each second, and none is counted by its number.
    assert [r["time_s"] for r in by_film["screen.mkv"]] == [0, 1.127, 2.16, 3.227, 4.167, 5.227]
    assert by_film["screen.mkv"][0]["audio_codec"] is None


def test_datasets_opens_it_and_another_run_has_nothing_to_do(films, tmp_path, capsys):
    ds = film.extract_frames(films, str(tmp_path / "out"), scenes=True)
    loaded = datasets.load_dataset(ds.folder, split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["time_s"] for row in loaded if row["file_name"] == "tour.mp4"] == [0, 3, 6]
    before = tree(ds.folder)
    film.extract_frames(films, str(tmp_path / "out"), scenes=True)
    assert "nothing to compute" in capsys.readouterr().out and tree(ds.folder) == before


def test_processes_give_the_same_bytes(films, tmp_path):
    film.extract_frames(films, str(tmp_path / "here"), every_s=0.5)
    with imgprep.session("local", workers=2):
        film.extract_frames(films, str(tmp_path / "there"), every_s=0.5)
    assert tree(tmp_path / "here") == tree(tmp_path / "there")


@pytest.mark.ray
@pytest.mark.slow
def test_ray_gives_the_same_bytes(films, tmp_path):
    film.extract_frames(films, str(tmp_path / "here"), every_s=1)
    with imgprep.session("ray", workers=2):
        film.extract_frames(films, str(tmp_path / "there"), every_s=1)
    assert tree(tmp_path / "here") == tree(tmp_path / "there")


def test_a_new_film_is_the_only_one_that_is_read(films, tmp_path, capsys):
    home = shutil.copytree(films, tmp_path / "films")
    film.extract_frames(home, str(tmp_path / "out"), every_s=1)
    short(home / "z.mp4")
    capsys.readouterr()
    film.extract_frames(home, str(tmp_path / "out"), every_s=1)
    assert "1 of 4 rows to compute: new rows" in capsys.readouterr().out


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_are_upright(degrees, name, tmp_path):
    stored = np.rot90(quarters(), degrees // 90)
    short(tmp_path / name, stored, turned_by=degrees)
    ds = film.extract_frames(tmp_path / name, str(tmp_path / "out"), every_s=5, format="PNG")
    (row,) = rows_of(ds)
    assert (row["width"], row["height"], row["film_turned_by"]) == (64, 48, degrees)
    assert np.abs(picture(ds, row).astype(int) - quarters()).mean() < 8


def test_a_turn_of_45_degrees_is_not_guessed(tmp_path):
    row = only(short(tmp_path / "a.mp4", turned_by=45), tmp_path / "out")
    assert (row["status"], row["reason"]) == ("failed", "unsupported_format")
    assert row["error"] == "the film is turned by 45 degrees: only quarter turns are made upright"


def mirrored(path: Path) -> Path:
    """With the matrix that shows it as in a mirror."""
    data = bytearray(short(path).read_bytes())
    plain = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    at = data.index(plain, data.index(b"tkhd"))
    data[at : at + 4] = struct.pack(">i", -65536)
    path.write_bytes(data)
    return path


def test_a_mirrored_film_is_shown_mirrored(tmp_path):
    ds = film.extract_frames(mirrored(tmp_path / "a.mp4"), str(tmp_path / "out"), every_s=5)
    assert np.abs(picture(ds, rows_of(ds)[0]).astype(int) - quarters()[:, ::-1]).mean() < 12


def test_pixels_become_square(tmp_path):
    with av.open(str(tmp_path / "dv.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 72, 58, "yuv420p"
        stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        frame = av.VideoFrame.from_ndarray(quarters((72, 58)), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (row,) = rows_of(film.extract_frames(tmp_path / "dv.mkv", str(tmp_path / "out"), every_s=1))
    assert (row["width"], row["height"], row["film_width"]) == (77, 58, 77)


@pytest.mark.parametrize("matrix, range_", [(1, 1), (5, 1), (1, 2), (5, 2)])
def test_colours_are_those_that_the_film_means(matrix, range_, tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"qp": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
        frame = frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range=range_)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    ds = film.extract_frames(tmp_path / "a.mp4", str(tmp_path / "out"), every_s=1, format="PNG")
    assert np.abs(picture(ds, rows_of(ds)[0]).astype(int) - quarters()).max() <= 4


def test_max_side_shrinks_and_never_enlarges(films, tmp_path):
    ds = film.extract_frames(films / "tour.mp4", str(tmp_path / "small"), every_s=9, max_side=100)
    assert [(r["width"], r["height"]) for r in rows_of(ds)] == [(100, 56)]
    ds = film.extract_frames(films / "tour.mp4", str(tmp_path / "large"), every_s=9, max_side=1000)
    assert [(r["width"], r["height"]) for r in rows_of(ds)] == [(640, 360)]


def test_a_table_keeps_its_columns_and_names_its_films_by_path_or_url(films, tmp_path):
    table = tmp_path / "films.csv"
    table.write_text(f"film,topic\n{films}/tour.mp4,coffee\nnot/there.mp4,none\n")
    tables = sources.read(str(table), url_column="film", root="/")
    rows = rows_of(film.extract_frames(tables, str(tmp_path / "out"), keyframes=True))
    assert [(r["topic"], r["time_s"], r["is_keyframe"]) for r in rows[:-1]] == [("coffee", n, True) for n in (0, 3, 6)]
    assert (rows[-1]["topic"], rows[-1]["reason"], rows[-1]["time_s"]) == ("none", "missing_file", None)


def test_the_films_of_a_dataset_folder_can_be_taken_again(films, tmp_path):
    first = film.extract_frames([films / "tour.mp4", films / "phone.mov"], str(tmp_path / "a"), every_s=1)
    again = rows_of(film.extract_frames(first, str(tmp_path / "b"), every_s=4))
    assert [(r["file_name"], r["time_s"]) for r in again] == [
        ("tour.mp4", 0), ("tour.mp4", 4), ("tour.mp4", 8), ("phone.mov", 0),
    ]  # fmt: skip


class TestBadFilms:
    """Each gets a reason, and costs no other film anything."""

    def test_a_film_that_ends_early_keeps_its_frames_and_says_so(self, films, tmp_path):
        with (tmp_path / "cut.mkv").open("wb") as file:
            file.write((films / "screen.mkv").read_bytes()[:-3_000])
        rows = rows_of(film.extract_frames(tmp_path / "cut.mkv", str(tmp_path / "out"), every_s=1))
        assert [r["status"] for r in rows] == ["ok"] * (len(rows) - 1) + ["failed"] and len(rows) > 2
        assert rows[-1]["reason"] == "truncated" and "of 5." in rows[-1]["error"]
        assert rows[-1]["parent_id"] == rows[0]["parent_id"] and rows[-1]["index"] == len(rows) - 1

    def test_an_mp4_without_its_table_of_contents_is_truncated(self, films, tmp_path):
        (tmp_path / "cut.mp4").write_bytes((films / "tour.mp4").read_bytes()[:100_000])
        row = only(tmp_path / "cut.mp4", tmp_path / "out")
        assert (row["reason"], row["error"]) == ("truncated", "the film ends before its table of contents")

    def test_a_film_that_promises_frames_and_has_none(self, tmp_path):
        data = bytearray(short(tmp_path / "a.mp4").read_bytes())
        at, size = data.index(b"mdat"), data.index(b"moov") - data.index(b"mdat") - 8
        data[at + 4 : at + 4 + size] = bytes(size)
        (tmp_path / "a.mp4").write_bytes(data)
        row = only(tmp_path / "a.mp4", tmp_path / "out")
        assert (row["reason"], row["error"]) == ("truncated", "the film promises 24 frames and holds none")

    @pytest.mark.parametrize("data, reason", [(b"", "empty"), (b"no film at all " * 99, "not_a_film")])
    def test_what_is_no_film(self, data, reason, tmp_path):
        (tmp_path / "a.mp4").write_bytes(data)
        assert only(tmp_path / "a.mp4", tmp_path / "out")["reason"] == reason

    @pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:4,\n{}\n", "ffconcat version 1.0\nfile '{}'\n"])
    def test_a_list_that_names_other_files_is_no_film(self, text, films, tmp_path):
        (tmp_path / "a.mp4").write_text(text.format(films / "tour.mp4"))
        assert only(tmp_path / "a.mp4", tmp_path / "out")["reason"] == "not_a_film"

    def test_sound_alone_is_no_film_and_neither_is_a_cover(self, tmp_path):
        with av.open(str(tmp_path / "a.mp4"), "w") as container:
            voice = container.add_stream("aac", rate=48_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux(voice.encode(frame))
            container.mux(voice.encode())
        row = only(tmp_path / "a.mp4", tmp_path / "out")
        assert (row["reason"], "sound, and at most a cover" in row["error"]) == ("not_a_film", True)

    def test_of_two_films_in_a_file_the_first_is_taken_and_that_is_said(self, tmp_path):
        with av.open(str(tmp_path / "two.mkv"), "w") as container:
            for size_wh in ((64, 48), (32, 24)):
                stream = container.add_stream("libx264", rate=24)
                stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
            for stream in container.streams:
                image = quarters((stream.width, stream.height))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                container.mux(stream.encode())
        (row,) = rows_of(film.extract_frames(tmp_path / "two.mkv", str(tmp_path / "out"), every_s=1))
        assert (row["width"], row["film_note"]) == (64, "the first film of the file; 1 more is in it")

    @pytest.mark.parametrize("curve, name", [(16, "PQ"), (18, "HLG")])
    def test_high_dynamic_range_is_said_and_not_guessed(self, curve, name, tmp_path):
        with av.open(str(tmp_path / "hdr.mkv"), "w") as container:
            stream = container.add_stream("libx265", rate=24, options={"x265-params": "log-level=none"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
            stream.codec_context.color_trc, stream.codec_context.color_primaries = curve, 9
            frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24").reformat(format="yuv420p10le")
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        row = only(tmp_path / "hdr.mkv", tmp_path / "out")
        assert row["reason"] == "unsupported_format" and f"HDR ({name})" in row["error"]

    def test_ten_hours_are_few_frames_or_a_sentence(self, tmp_path):
        frames = [np.full((48, 64, 3), n % 250, np.uint8) for n in range(3600)]
        write_film(tmp_path / "long.mp4", frames, [Fraction(10 * n) for n in range(3600)], g="6", preset="ultrafast")
        rows = rows_of(film.extract_frames(tmp_path / "long.mp4", str(tmp_path / "out"), every_s=3600))
        assert [r["time_s"] for r in rows] == [3600 * n for n in range(10)]
        few = rows_of(film.extract_frames(tmp_path / "long.mp4", str(tmp_path / "few"), every_s=10, max_frames=20))
        assert [r["status"] for r in few] == ["ok"] * 20 + ["failed"]
        assert (few[-1]["reason"], few[-1]["error"]) == (
            "too_many_frames", "the film gives more than max_frames=20 frames: the first ones are kept",
        )  # fmt: skip

    def test_frames_with_too_many_pixels_are_not_decoded(self, films, tmp_path):
        row = only(films / "tour.mp4", tmp_path / "out", every_s=1, max_pixels=640 * 359)
        assert (row["reason"], row["error"]) == (
            "too_many_pixels", "frames of 640 x 360 have more than 229,760 pixels",
        )  # fmt: skip

    def test_a_film_that_takes_too_much_memory_is_one_row(self, films, tmp_path):
        with imgprep.session("local", workers=1):
            ds = film.extract_frames(
                films / "tour.mp4", str(tmp_path / "out"), every_s=0.02, max_memory_mb=10, max_failed=1
            )
        (row,) = rows_of(ds)
        assert (row["reason"], row["index"]) == ("too_much_memory", None)

    def test_a_run_of_broken_films_ends_in_a_sentence(self, tmp_path):
        for n in range(3):
            (tmp_path / f"{n}.mp4").write_bytes(b"no film")
        with pytest.raises(RunStopped, match="not_a_film"):
            film.extract_frames(tmp_path, str(tmp_path.parent / f"{tmp_path.name}-out"), every_s=1)


@pytest.mark.parametrize(
    "options, told",
    [
        ({}, "say which frames"),
        ({"every_s": 1, "scenes": True}, "one of them, not 2"),
        ({"every_s": 0}, "every_s is a number of seconds above 0, not 0"),
        ({"every_s": "1"}, "every_s is a number"),
        ({"scenes": 2}, "a share above 0 and up to 1, not 2"),
        ({"keyframes": 1}, "keyframes is true or false"),
        ({"every_s": 1, "format": "BMP"}, "format is 'JPEG', 'PNG' or 'WEBP', not 'BMP'"),
        ({"every_s": 1, "max_side": 0}, "max_side is a whole number"),
        ({"every_s": 1, "max_frames": 1.5}, "max_frames is a whole number"),
        ({"every_s": 1, "timeout_s": -1}, "timeout_s is a number above 0"),
    ],
)
def test_a_wrong_option_is_told_before_any_work(options, told, films, tmp_path):
    with pytest.raises(ValueError, match=told):
        film.extract_frames(films, str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()


def test_wrong_films_are_told_before_any_work(films, tmp_path):
    (tmp_path / "none").mkdir()
    for given, told in ((tmp_path / "none", "no films"), (tmp_path / "gone", "gone"), ([], "no films")):
        with pytest.raises(ValueError, match=told):
            film.extract_frames(given, str(tmp_path / "out"), every_s=1)
    with pytest.raises(ValueError, match="lies in the source"):
        film.extract_frames(films, str(films / "out"), every_s=1)


@pytest.mark.corpus
def test_real_films_are_read_to_their_end(corpus, tmp_path):
    ds = film.extract_frames(corpus / "video", str(tmp_path / "out"), every_s=0.5)
    rows = rows_of(ds)
    assert ds.counts() | {"reasons": {}} == ds.counts() and {r["status"] for r in rows} == {"ok"}
    assert len({r["parent_id"] for r in rows}) == 6
    by_name = {r["file_name"]: r for r in rows}
    assert (by_name["video_90.mov"]["width"], by_name["video_0.mov"]["width"]) == (320, 568)
    assert by_name["with-gps.mov"]["film_turned_by"] == 90
