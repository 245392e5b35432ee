"""Objects through the stages: they move with their picture, or the run says that they stay behind."""

import json

import numpy as np
import pyarrow as pa
import pytest

import imgprep
from imgprep.picture import codec, enhance, geometry
from imgprep.rows import annotations
from imgprep.stages import images


@pytest.fixture(scope="module", autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture
def raw(tmp_path):
    """Two pictures of 100 x 50, one of which is missing, with a white box and what is drawn on it."""
    image = np.zeros((50, 100, 3), np.uint8)
    image[10:30, 20:60] = 255
    (tmp_path / "a.png").write_bytes(codec.encode(image))
    box, outline = [20, 10, 40, 20], [20, 10, 60, 10, 60, 30, 20, 30]
    note = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": [outline]}
    names = [{"id": n, "file_name": name} for n, name in enumerate(["a.png", "gone.png"], 1)]
    data = {"images": names, "annotations": [note], "categories": [{"id": 1, "name": "box"}]}
    (tmp_path / "c.json").write_text(json.dumps(data))
    return images.download(annotations.read(tmp_path / "c.json"), str(tmp_path / "raw"))


def test_fit_pad_to_224_is_one_call_and_takes_the_objects_along(raw, tmp_path, capsys):
    made = images.transform(raw, str(tmp_path / "out"), annotations.fit_pad_objects, fill=0)
    (row, gone) = made.table("train").to_pylist()
    assert (row["width"], row["height"]) == (224, 224) and gone["objects"] == []
    (one,) = row["objects"]
    assert one["label"] == "box" and one["box_xywh"] == pytest.approx([44.8, 56 + 22.4, 89.6, 44.8])
    assert one["polygons"][0][:2] == pytest.approx([44.8, 78.4])
    picture = codec.decode(made.pictures("train", [0])[0])
    white = np.argwhere(picture[:, :, 0] > 127)
    x, y, width, height = one["box_xywh"]
    assert (
        abs(white.min(0) - [y, x]).max() <= 1
        and abs(white.max(0) + 1 - [y + height, x + width]).max() <= 1
    )
    assert "places in the picture" not in capsys.readouterr().out
    again = images.transform(raw, str(tmp_path / "out"), annotations.fit_pad_objects, fill=0)
    assert again.runs() == made.runs(), "nothing to do"


def test_a_function_of_a_user_may_take_and_return_them(raw, tmp_path):
    def halved(image, objects):
        found = [{**one, "box_xywh": [n / 2 for n in one["box_xywh"]]} for one in objects or ()]
        return {"image": image[::2, ::2], "objects": found}

    features = annotations.object_features()
    made = images.transform(raw, str(tmp_path / "out"), halved, features=features)
    assert made.table("train")["objects"][0].as_py() == [
        {"label": "box", "score": None, "box_xywh": [10, 5, 20, 10]}
    ]
    with pytest.raises(
        ValueError, match="there is a column 'objects' already: return yours under another name"
    ):
        images.transform(raw, str(tmp_path / "x"), lambda image: {"objects": []}, features=features)


def test_what_stays_behind_is_said_before_the_run(raw, tmp_path, capsys):
    def half(image):
        return image[::2, ::2]

    images.transform(raw, str(tmp_path / "a"), geometry.fit_pad, size_wh=[32, 32])
    out = capsys.readouterr().out
    assert (
        "fit_pad: objects is a column of places in the picture, which fit_pad does not move" in out
    )
    assert out.index("does not move") < out.index("rows to compute")
    images.transform(raw, str(tmp_path / "b"), half)
    assert (
        "where half changes the picture's size, let it take and return them, too"
        in capsys.readouterr().out
    )
    images.transform(raw, str(tmp_path / "c"), enhance.denoise)
    assert "places in the picture" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "is_place"),
    [
        ("boxes_xywh", [[1, 2, 3, 4]], True),
        ("mine", [{"bbox": [1.0], "x": 1}], True),
        ("points", [[1, 2]], True),
        ("boxes", "three", False),
        ("label", "cat", False),
        ("tags", [{"name": "a"}], False),
    ],
)
def test_columns_of_places_are_known_by_name_and_type(name, value, is_place):
    schema = pa.table({name: [value]}).schema
    assert bool(annotations.left_behind(schema, geometry.fit, [])) == is_place
    assert annotations.left_behind(schema, geometry.fit, [name]) == ""


def test_the_objects_of_a_dataset_are_written_for_their_upright_pictures(raw, tmp_path):
    made = images.transform(raw, str(tmp_path / "out"), annotations.fit_pad_objects)
    ok = {"train": made.table("train").slice(0, 1)}
    where = annotations.write(ok, tmp_path / "out.json", "coco", classes=["cat", "box"])
    data = json.loads((tmp_path / "out.json").read_text())
    assert where == str(tmp_path / "out.json") and data["images"][0]["width"] == 224
    assert data["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "box"}]
    assert data["annotations"][0]["category_id"] == 2
