"""Detection in tiles: the whole picture's answer where one tile holds it, one object over borders elsewhere."""

import base64
import html
import re
from collections import Counter

import numpy as np
import pytest

import imgprep
from imgprep import annotations, models, report, show, sources
from imgprep.display import found
from imgprep.models.found import FoundBoxes
from imgprep.models.sliced import merged_over_borders
from imgprep.picture import codec
from imgprep.sample.balls import ball_picture, make_balls
from imgprep.stages import images

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "balls"
    make_balls(folder)
    return folder


@pytest.fixture(scope="module")
def demo(balls):
    return str(balls / "demo_detector.onnx")


def test_a_picture_that_one_tile_holds_gives_what_the_whole_gives(demo):
    picture, _ = ball_picture(3)
    whole = models.Boxes(demo, threshold=0.2)(picture)["objects"]
    for tile_wh in ([640, 480], [900, 480], None):
        assert models.Detector(demo, threshold=0.2, tile_wh=tile_wh)(picture) == {"objects": whole}


def test_every_ball_over_the_borders_of_tiles_is_one(demo):
    picture, _ = ball_picture(3)
    whole = models.Boxes(demo)(picture)["objects"]
    tiles = models.Detector(demo, tile_wh=[320, 320], overlap=120)(picture)["objects"]
    scores = annotations.box_agreement([tiles], [whole])
    assert scores["recall"] == 1 and scores["precision"] == 1


def test_only_boxes_of_one_label_in_different_tiles_become_one():
    here = FoundBoxes(
        np.array([[80.0, 0, 100, 20], [82, 0, 100, 20], [0, 0, 9, 9]]), np.array([0.9, 0.8, 0.7]), ["a", "b", "a"]
    )
    there = FoundBoxes(np.array([[81.0, 1, 120, 21], [200, 0, 209, 9]]), np.array([0.6, 0.95]), ["a", "a"])
    merged = merged_over_borders([here, there])
    got = dict(zip(merged.scores.tolist(), zip(merged.labels, merged.boxes.tolist(), strict=True), strict=True))
    assert got == {
        0.95: ("a", [200, 0, 209, 9]),
        0.9: ("a", [80, 0, 120, 21]),
        0.8: ("b", [82, 0, 100, 20]),
        0.7: ("a", [0, 0, 9, 9]),
    }
    same_tile = merged_over_borders([FoundBoxes(here.boxes[:2], here.scores[:2], ["a", "a"])])
    assert len(same_tile.labels) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tile_wh": [0, 10]}, r"tile_wh is two whole numbers above 0, \[width, height\], not \[0, 10\]"),
        ({"tile_wh": [64]}, "tile_wh is two whole numbers"),
        ({"tile_wh": [64, 64], "overlap": 64}, "tiles of 64 x 64 cannot overlap by 64 pixels"),
    ],
)
def test_tiles_that_cannot_be_are_refused(demo, options, says):
    with pytest.raises(ValueError, match=says):
        models.Detector(demo, **options)


def test_boxes_become_a_column_a_table_of_agreement_annotations_and_a_part_of_the_report(balls, demo, tmp_path):
    with imgprep.session("local", workers=0):
        given = sources.read({"train": str(balls / "pictures")}, limit=6)
        seen = images.transform(
            given, str(tmp_path / "seen"), models.Detector, model=demo, features=models.Detector.features()
        )
        ready = images.transform(seen, str(tmp_path / "ready"), annotations.fit_pad_objects, size_wh=[224, 224])
    truth = annotations.read(balls / "truth.json", images=balls / "pictures")
    table = annotations.agreement_table(seen, truth)
    assert table.loc["all", "recall"] > 0.9 and table.loc["all", "true"] == table[:-1]["true"].sum()
    # fit_pad with the boxes is one call: as many boxes, each where a detector would have to find it
    before, after = (ds.table("train").to_pylist() for ds in (seen, ready))
    for old, new in zip(before, after, strict=True):
        assert (new["width"], new["height"]) == (224, 224) and len(old["objects"]) == len(new["objects"]) > 0
        by = 224 / 640
        for one, moved in zip(old["objects"], new["objects"], strict=True):
            x, y, w, h = one["box_xywh"]
            assert moved["box_xywh"] == pytest.approx([x * by, y * by + 28, w * by, h * by], abs=0.01)
    path = annotations.write(seen, tmp_path / "found.json", "coco")
    again = annotations.read(path, images=balls / "pictures")
    assert annotations.agreement_table(seen, again).loc["all", "map"] == pytest.approx(1)
    page = report.write(tmp_path / "report.html", [seen], title="Boxes").read_text("utf-8")
    assert '<section id="objects"' in page and "boxes on" in page
    assert "red ball" in repr(show.objects(seen, n=2))


@pytest.fixture(scope="module")
def unsure(balls, demo, tmp_path_factory):
    """What the demo's detector finds in four pictures, also what it is not sure of."""
    given = sources.read({"train": str(balls / "pictures")}, limit=4)
    how = {"model": demo, "threshold": 0.1, "features": models.Detector.features()}
    with imgprep.session("local", workers=0):
        out = str(tmp_path_factory.mktemp("unsure") / "seen")
        return images.transform(given, out, models.Detector, **how)


def counted(ds, min_score):
    found = [one for row in ds.table("train")["objects"].to_pylist() for one in row]
    return Counter(one["label"] for one in found if one["score"] >= min_score)


@pytest.mark.parametrize("min_score", [0.0, 0.5])
def test_cell_and_report_show_and_count_the_same_boxes(unsure, tmp_path, min_score):
    assert counted(unsure, 0) != counted(unsure, 0.5), "else this tells nothing"
    want = counted(unsure, min_score)
    listed = found.counted_objects(unsure, min_score=min_score)
    assert {one["label"]: one["boxes"] for one in listed} == want
    drawn = found.drawn_objects(unsure, 4, 320, min_score=min_score)
    told = [f"{one['name']} · {one['text']}" for one in drawn]
    assert repr(show.objects(unsure, n=4, min_score=min_score)) == "; ".join(told)
    by_name = Counter()
    for text in told:
        for number, label, times in re.findall(r"(\d+) (\w+ ball) × (\d+)", text):
            assert sorted(want)[int(number) - 1] == label
            by_name[label] += int(times)
    assert by_name == want
    how = {"title": "Boxes", "min_score": min_score}
    page = report.write(tmp_path / "r.html", [unsure], **how).read_text("utf-8")
    assert all(html.escape(text) in page for text in told)
    assert ("with a score of 0.5 or more" in page) == (min_score == 0.5)


def test_a_number_at_a_box_is_as_high_as_it_can_be_read(unsure):
    """Seen at 320 pixels it has 11 at least, however large the picture is that it is drawn on."""
    objects = [{"label": "cat", "score": 0.9, "box_xywh": [200, 200, 100, 100]}]
    for side in (224, 320, 640, 1000):
        grey = codec.encode(np.full((side, side, 3), 128, np.uint8))
        uri = found.boxes_uri(grey, objects, 640, {"cat": 1})
        image = codec.decode(base64.b64decode(uri.partition(",")[2])).astype(int)
        colour = np.array(found._box_colour("cat"))
        shown = image.shape[0] / min(320, image.shape[0])
        by = image.shape[0] / side
        # Above the box: what has its colour there is the number's ground.
        above = image[: round(200 * by) - 3, round(200 * by) + 1 : round(206 * by) + 4]
        ground = (np.abs(above - colour).max(2) < 40).any(1).sum() / shown
        assert ground >= 11


def test_pictures_that_are_not_in_the_truth_are_said(balls, demo, tmp_path, capsys):
    with imgprep.session("local", workers=0):
        given = sources.read({"train": str(balls / "pictures")}, limit=1)
        seen = images.transform(
            given, str(tmp_path / "seen"), models.Detector, model=demo, features=models.Detector.features()
        )
    truth = annotations.read(balls / "truth.json", images=balls / "pictures")
    annotations.agreement_table(seen, truth)
    assert "11 pictures of the truth not in the dataset: not counted" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no picture of the dataset stands in the truth"):
        annotations.agreement_table(seen, {"train": truth["train"].slice(5)})


def test_boxes_are_drawn_where_they_are():
    grey = np.full((100, 200, 3), 128, np.uint8)
    objects = [{"label": "cat", "score": 0.9, "box_xywh": [50, 40, 60, 30]}]
    drawn = show.draw_objects(grey, objects, width=2)
    assert (grey == 128).all() and (drawn[70, 60:100] != 128).any(1).all() and (drawn[55, 70:90] == 128).all()
    assert (show.draw_objects(grey, objects, min_score=0.95) == grey).all()
    assert (show.draw_objects(grey, None) == grey).all()
