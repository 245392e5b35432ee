"""Annotations that cannot be right are told in a sentence, left out and counted, or kept, as one wishes."""

import json

import numpy as np
import pytest
from PIL import Image

from imgprep.picture import codec
from imgprep.rows import annotations


@pytest.fixture
def coco(tmp_path):
    """coco(objects, images) writes a file, and its picture of 60 x 40; returns the file's path."""
    (tmp_path / "a.png").write_bytes(codec.encode(np.zeros((40, 60, 3), np.uint8)))

    def write(boxes, *, images=None, categories=None, **more):
        images = images or [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
        notes = [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": box, **more}
            for n, box in enumerate(boxes, 1)
        ]
        categories = categories or [{"id": 1, "name": "cat"}]
        (tmp_path / "c.json").write_text(
            json.dumps({"images": images, "annotations": notes, "categories": categories})
        )
        return tmp_path / "c.json"

    return write


def boxes(tables):
    return [
        one["box_xywh"] for objects in tables["train"]["objects"].to_pylist() for one in objects
    ]


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ([5, 5, 0, 9], "a box of 'cat' in a.png has no area: width 0, height 9"),
        ([5, 5, -3, 9], "has no area: width -3, height 9"),
        ([70, 5, 3, 9], "is outside the picture of 60 x 40"),
        ([5, 5, 3], r"is no box: \[5.0, 5.0, 3.0\]"),
        (None, "a box of 'cat' in a.png is missing"),
    ],
)
def test_a_box_that_cannot_be_right(coco, capsys, box, says):
    where = coco([[1, 1, 5, 5], box])
    with pytest.raises(
        ValueError, match=f"{says}; bad='drop' leaves such out, bad='keep' keeps them$"
    ):
        annotations.read(where)
    assert boxes(annotations.read(where, bad="drop")) == [[1, 1, 5, 5]]
    assert "1 box that cannot be right is left out" in capsys.readouterr().out
    assert len(boxes(annotations.read(where, bad="keep"))) == 2


def test_a_box_over_the_edge_is_clipped_and_counted(coco, capsys):
    assert boxes(annotations.read(coco([[-2, 30, 10, 20], [0, 0, 60, 40]]))) == [
        [0, 30, 8, 10],
        [0, 0, 60, 40],
    ]
    assert (
        "1 box stands over the edge of its picture and is clipped there"
        in capsys.readouterr().out
    )


def test_ids_that_name_nothing_or_two_things(coco):
    with pytest.raises(
        ValueError, match="annotation 1 of .* is of the category 7; categories lists: 1$"
    ):
        annotations.read(coco([[1, 1, 5, 5]], category_id=7))
    with pytest.raises(ValueError, match="is about the image 9, which the file does not list"):
        annotations.read(coco([[1, 1, 5, 5]], image_id=9))
    twice = [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
    with pytest.raises(ValueError, match="has two entries for the image 1$"):
        annotations.read(coco([], images=twice))
    with pytest.raises(ValueError, match="has two entries for the category 1$"):
        annotations.read(coco([], categories=[{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]))


IMAGE = {"id": 1, "file_name": "a.png", "width": 60, "height": 40}
NOTE = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}
CATEGORY = {"id": 1, "name": "cat"}


def bad_record(**changed):
    """A file of one picture and one object, with one of the lists changed."""
    lists = {"images": [IMAGE], "annotations": [NOTE], "categories": [CATEGORY]}
    return json.dumps(lists | changed)


def lacking(record, name):
    return [{key: value for key, value in record.items() if key != name}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bad_record(annotations=lacking(NOTE, "category_id")), "is of the category None; categories lists: 1"),
        (bad_record(annotations=lacking(NOTE, "image_id")), "is about the image None, which the file does"),
        (bad_record(annotations=lacking(NOTE, "bbox")), "a box of 'cat' in a.png is missing"),
        (bad_record(annotations=[NOTE | {"category_id": [1]}]), r"has the category_id \[1\], which is no number"),
        (bad_record(annotations=[NOTE | {"image_id": {}}]), "has the image_id {}, which is no number"),
        (bad_record(annotations=[NOTE | {"bbox": "1 1 5 5"}]), "the bbox of annotation 1 of .* is no list of numbers"),
        (bad_record(annotations=[NOTE | {"bbox": [None, 1, 5, 5]}]), r"is no list of numbers: \[None, 1, 5, 5\]"),
        (bad_record(annotations=[NOTE | {"score": "high"}]), "the score of annotation 1 of .* is no list of numbers"),
        (bad_record(annotations=[NOTE | {"segmentation": "x"}]), "the segmentation of .* is no list of numbers: x"),
        (bad_record(annotations=[NOTE | {"segmentation": [[1, 2, 3]]}]), "has 3 numbers, not x, y of each"),
        (bad_record(annotations=[NOTE | {"segmentation": {"counts": [9]}}]), "has no size and counts"),
        (bad_record(annotations=[None]), "record 0 of annotations in .* is None, and no record"),
        (bad_record(annotations=None), "annotations of .* is no list"),
        (bad_record(images=IMAGE), "images of .* is no list"),
        (bad_record(images=lacking(IMAGE, "id")), "record 0 of images in .* has no id"),
        (bad_record(images=lacking(IMAGE, "file_name")), "record 0 of images in .* has no file_name"),
        (bad_record(images=[IMAGE | {"width": "60"}]), "image 1 of .* has a side of '60' pixels"),
        (bad_record(categories=["cat"]), "record 0 of categories in .* is 'cat', and no record"),
        (bad_record(categories=lacking(CATEGORY, "name")), "record 0 of categories in .* has no name"),
        (bad_record(categories=[CATEGORY | {"name": None}]), "record 0 of categories in .* has no name"),
        (bad_record(categories=None), "is of the category 1; categories lists: none"),
        ("{", "c.json is no JSON: "),
        ("[]", "c.json is no COCO file: it has no images and annotations"),
    ],
)  # fmt: skip
def test_a_record_that_lacks_what_it_needs(coco, text, says):
    where = coco([])
    where.write_text(text)
    with pytest.raises(ValueError, match=says):
        annotations.read(where)


def test_a_picture_named_twice(coco):
    twice = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}]
    with pytest.raises(
        ValueError,
        match=r"a.png is named twice: by image 1 of .* and image 2 of .*; put their objects",
    ):
        annotations.read(coco([], images=twice))


def test_another_size_than_the_picture_has(coco):
    other = [{"id": 1, "file_name": "a.png", "width": 600, "height": 400}]
    with pytest.raises(
        ValueError, match="1 picture of another size than the annotations say: a.png is 60 x 40, not 600 x 400"
    ):
        annotations.read(coco([[1, 1, 5, 5]], images=other))


def test_a_picture_that_is_missing_is_still_a_row(coco):
    gone = [
        {"id": 1, "file_name": "gone.png", "width": 60, "height": 40},
        {"id": 2, "file_name": "../../x.png"},
    ]
    table = annotations.read(coco([[1, 1, 5, 5]], images=gone))["train"]
    assert table["file_name"].to_pylist() == ["gone.png", "../../x.png"]
    assert table["source"][1].as_py().startswith("outside-root:")


@pytest.fixture
def turned(tmp_path):
    """turned(orientation) writes a picture of 60 x 40 stored pixels that EXIF turns so."""

    def write(orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
        return "a.jpg"

    return write


@pytest.mark.parametrize(
    ("width", "side", "box"), [(40, "shown", [1, 2, 3, 4]), (60, "stored", [34, 1, 4, 3])]
)
def test_a_picture_turned_by_exif_tells_its_side_by_the_size(
    coco, turned, capsys, width, side, box
):
    image = {"id": 1, "file_name": turned(6), "width": width, "height": 100 - width}
    where = coco([[1, 2, 3, 4]], images=[image])
    assert boxes(annotations.read(where)) == [box] == boxes(annotations.read(where, side=side))
    assert "1 picture is turned by EXIF" in capsys.readouterr().out


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_side_that_sizes_do_not_tell_is_asked_for(coco, turned, orientation):
    image = {"id": 1, "file_name": turned(orientation)} | (
        {"width": 60, "height": 40} if orientation == 3 else {}
    )
    where = coco([[1, 2, 3, 4]], images=[image])
    with pytest.raises(
        ValueError,
        match=r"turned by EXIF: 1 annotated picture \(a.jpg …\), .* give side='shown'",
    ):
        annotations.read(where)
    assert boxes(annotations.read(where, side="shown")) == [[1, 2, 3, 4]]
    stored = {3: [56, 34, 3, 4], 6: [34, 1, 4, 3]}[orientation]
    assert boxes(annotations.read(where, side="stored")) == [stored]
    with pytest.raises(ValueError, match="side is 'shown' or 'stored', not 'left'"):
        annotations.read(where, side="left")


def voc(tmp_path, corners, more=""):
    (tmp_path / "a.png").write_bytes(codec.encode(np.zeros((40, 60, 3), np.uint8)))
    x0, y0, x1, y1 = corners
    box = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
    one = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    (tmp_path / "a.xml").write_text(
        f"{more}<annotation><filename>a.png</filename>{one}</annotation>"
    )
    return tmp_path


def test_corners_of_voc_count_from_one_or_from_nought(tmp_path, capsys):
    assert boxes(annotations.read(voc(tmp_path, (1, 1, 60, 40)))) == [[0, 0, 60, 40]]
    assert (
        "count from 1, the last pixel inside, as VOC's own; where that is wrong, give one_based=False"
        in (capsys.readouterr().out)
    )
    assert boxes(annotations.read(voc(tmp_path, (0, 1, 60, 40)))) == [[0, 1, 60, 39]]
    assert (
        "count from 0: some are 0; where that is wrong, give one_based=True"
        in capsys.readouterr().out
    )
    assert boxes(annotations.read(voc(tmp_path, (1, 1, 60, 40)), one_based=False)) == [
        [1, 1, 59, 39]
    ]
    assert "corners" not in capsys.readouterr().out


def test_a_file_of_voc_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="declares a document type, which no annotation needs"):
        annotations.read(
            voc(tmp_path, (1, 1, 2, 2), '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>')
        )
    with pytest.raises(ValueError, match="'ten' is no number"):
        annotations.read(voc(tmp_path, (1, "ten", 2, 2)))
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match="a.xml is no XML: "):
        annotations.read(tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("7 .5 .5 .1 .1", "line 1 of .*a.txt is of the class 7; there are 2: cat, dog"),
        ("0 .5 .5", "line 1 of .*a.txt has 2 numbers behind its class: no box, no outline"),
        ("cat .5 .5 .1 .1", "is not a class and numbers: 'cat .5 .5 .1 .1'"),
        ("0 nan .5 .1 .1", "is no box"),
    ],
)
def test_lines_of_yolo_that_are_none(tmp_path, line, says):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(codec.encode(np.zeros((40, 60, 3), np.uint8)))
    (tmp_path / "images/empty.png").write_bytes(codec.encode(np.zeros((40, 60, 3), np.uint8)))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("1 .5 .5 .5 .5 .25\n\n")
    with pytest.raises(
        ValueError,
        match=r"has no data.yaml and no classes.txt: give classes=\['first', 'second', …\]",
    ):
        annotations.read(tmp_path / "labels")
    (tmp_path / "labels/classes.txt").write_text("cat\ndog\n")
    table = annotations.read(tmp_path / "labels")["train"]
    assert table["file_name"].to_pylist() == ["a.png", "empty.png"]
    wanted = {"label": "dog", "score": 0.25, "box_xywh": [15.0, 10.0, 30.0, 20.0]}
    assert table["objects"].to_pylist() == [[wanted], []]
    (tmp_path / "labels/a.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match=says):
        annotations.read(tmp_path / "labels")


def test_shapes_of_labelme(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(codec.encode(np.zeros((40, 60, 3), np.uint8)))
    shapes = [
        {
            "label": "cat",
            "shape_type": "rectangle",
            "points": [[30, 20], [10, 5]],
            "group_id": None,
        },
        {"label": "sun", "shape_type": "circle", "points": [[20, 20], [20, 25]]},
        {"label": "eye", "shape_type": "point", "points": [[3, 4]]},
        {"label": "dog", "points": [[0, 0], [5, 0], [5, 5]], "group_id": 4},
        {"label": "dog", "points": [[9, 9], [12, 9], [9, 12]], "group_id": 4},
    ]
    data = {
        "shapes": shapes,
        "imagePath": "C:\\pictures\\a.png",
        "imageWidth": 60,
        "imageHeight": 40,
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    cat, sun, eye, dog = annotations.read(tmp_path)["train"]["objects"].to_pylist()[0]
    assert cat["box_xywh"] == [10, 5, 20, 15] and eye["box_xywh"] == [3, 4, 0, 0]
    assert (
        sun["box_xywh"] == pytest.approx([15, 15, 10, 10])
        and "an outline of 64 corners" in capsys.readouterr().out
    )
    assert len(dog["polygons"]) == 2 and dog["box_xywh"] == [0, 0, 12, 12]
    shapes[0]["shape_type"] = "oriented"
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(
        ValueError, match="shape 0 of .*a.json is a 'oriented' of 2 points, which is not read"
    ):
        annotations.read(tmp_path)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"points": [[1, 2], [3, 4]]}, "shape 0 of .*a.json has no label"),
        ("cat", "shape 0 of .*a.json has no label"),
        ({"label": "cat"}, r"shape 0 of .*a.json has the points None: they are \[\[x, y\], …\]"),
        ({"label": "cat", "points": [[1, 2, 3]]}, r"has the points \[\[1, 2, 3\]\]: they are"),
        ({"label": "cat", "points": [["1", 2]]}, r"has the points \[\['1', 2\]\]: they are"),
    ],
)
def test_a_shape_of_labelme_that_is_none(shape, says, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    with pytest.raises(ValueError, match=says):
        annotations.read(tmp_path, form="labelme")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="a.json is no JSON: "):
        annotations.read(tmp_path, form="labelme")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"form": "csv"}, "form is one of coco, voc, yolo, labelme, not 'csv'"),
        ({"bad": "no"}, "bad is one of raise, drop, keep, not 'no'"),
    ],
)
def test_options_are_checked(coco, options, says):
    with pytest.raises(ValueError, match=says):
        annotations.read(coco([]), **options)


def test_a_source_that_is_not_there_or_says_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"there is no .*/cocoo.json"):
        annotations.read(tmp_path / "cocoo.json")
    with pytest.raises(ValueError, match="has no .xml, .json or .txt files: give form="):
        annotations.read(tmp_path)


def test_several_splits_have_one_type(coco, tmp_path):
    one = coco([[1, 1, 5, 5]])
    (tmp_path / "one.json").write_text(one.read_text())
    other = coco([[1, 1, 5, 5]], segmentation=[[1, 1, 6, 1, 6, 6]])
    tables = annotations.read({"train": tmp_path / "one.json", "test": other}, images=tmp_path)
    assert tables["train"].schema == tables["test"].schema
    assert tables["train"]["objects"].to_pylist()[0][0]["polygons"] is None


def test_what_a_format_does_not_hold_is_counted(tmp_path, coco, capsys):
    table = annotations.read(coco([[1, 1, 5, 5]], segmentation=[[1, 1, 6, 1, 6, 6]]))["train"]
    sized = table.append_column("width", [[60]]).append_column("height", [[40]])
    annotations.write(sized, tmp_path / "voc", "voc")
    assert "1 object has polygons, which VOC's files do not hold" in capsys.readouterr().out
    with pytest.raises(ValueError, match="classes does not name 'cat', which objects have"):
        annotations.write(sized, tmp_path / "x", "yolo", classes=["dog"])
    with pytest.raises(ValueError, match="no column 'width'"):
        annotations.write(table, tmp_path / "x", "yolo")


@pytest.mark.corpus
def test_boxes_of_the_corpus(corpus, capsys):
    blood = annotations.read(corpus / "detection/bccd")["train"]
    labels = {one["label"] for objects in blood["objects"].to_pylist() for one in objects}
    assert labels == {"RBC", "WBC", "Platelets"} and len(blood) > 10
    sahi = annotations.read(corpus / "detection/sahi/terrain1_coco.json", bad="drop")["train"]
    assert len(sahi) == 1 and len(sahi["objects"][0]) > 3
