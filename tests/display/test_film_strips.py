"""Frames are shown as the film that they are of."""

import re

import pytest

import imgprep
from imgprep import film, report, show
from imgprep.dataset import Dataset
from imgprep.picture import codec
from imgprep.sample.films import make_films
from imgprep.stages import images


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Dataset:
    home = tmp_path_factory.mktemp("made")
    make_films(home / "films")
    with imgprep.session("local", workers=0):
        return film.extract_frames(home / "films", str(home / "out"), every_s=1)


def test_a_strip_for_each_film_with_the_times_of_its_frames(frames):
    cell = show.films(frames)
    html = cell._repr_html_()
    assert repr(cell) == (
        "phone.mov: 2 frames, 180 × 320, 2 s, h264, no sound; screen.mkv: 6 frames, 320 × 240, 6 s, h264, no sound; "
        "tour.mp4: 9 frames, 640 × 360, 9 s, h264"
    )
    assert html.count("<img") == 2 + 6 + 8 and "2.16 s" in html and "<script" not in html


def test_what_holds_no_frames_is_told_so(tmp_path, frames):
    def grey(image):
        return image

    with imgprep.session("local", workers=0):
        other = images.transform(frames, str(tmp_path / "out"), grey)
        plain = images.transform(one_picture(tmp_path), str(tmp_path / "plain"), grey)
    assert "tour.mp4: 9 frames" in repr(show.films(other))  # also after a later stage
    with pytest.raises(ValueError, match="holds no frames of films"):
        show.films(plain)


def one_picture(tmp_path) -> str:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(codec.placeholder((40, 30)))
    return str(tmp_path / "in")


def test_the_report_has_a_section_of_films(frames, tmp_path):
    page = report.write(tmp_path / "report.html", [frames], title="films").read_text("utf-8")
    section = page.split('<section id="films"')[1].split("</section>")[0]
    assert len(re.findall("<img", section)) == 16 and "tour.mp4: 9 frames, 640 × 360, 9 s, h264" in section
