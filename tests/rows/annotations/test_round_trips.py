"""What a format holds comes back from it to the last bit (YOLO: to a millionth of a pixel)."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imgprep.picture import codec, runs
from imgprep.rows import annotations
from imgprep.rows.annotations import coco, labelme, voc, yolo
from imgprep.rows.annotations.objects import Annotated, ToldObject, box_of

WIDTH, HEIGHT = 301, 97
LABELS = ["cat", "dog", "Ångström & <sons>", "a b"]
anything = st.floats(0, 250, allow_nan=False).map(float)
millionths = st.integers(0, 60_000_000).map(lambda n: n / 1_000_000)
QUICK = settings(max_examples=60, deadline=None)


def points(numbers, least=3):
    return st.lists(st.tuples(numbers, numbers), min_size=least, max_size=6).map(
        lambda ps: [n for p in ps for n in p]
    )


@st.composite
def objects(
    draw, numbers=anything, kinds=("box", "polygons", "mask", "points"), score=False, flags=()
):
    one = {"label": draw(st.sampled_from(LABELS)), "score": None}
    kind = draw(st.sampled_from(kinds))
    if score:
        one["score"] = draw(st.none() | st.floats(0, 1))
    if kind == "polygons":
        one["polygons"] = draw(st.lists(points(numbers), min_size=1, max_size=2))
    if kind == "outline":
        one["polygons"] = [draw(points(numbers))]
    if kind == "mask":
        x, y, w, h = (draw(st.integers(0, 40)) for _ in range(4))
        pixels = np.zeros((HEIGHT, WIDTH), bool)
        pixels[y : y + h + 1, x : x + w + 1 : draw(st.integers(1, 3))] = True
        one["mask"] = runs.encode_mask(pixels)
    if kind == "points":
        triples = st.tuples(numbers, numbers, st.sampled_from([1.0, 2.0])).map(list)
        one["points_xyv"] = draw(st.lists(triples, min_size=3, max_size=3))
    has_box = kind in ("box", "points") or (kind != "outline" and draw(st.booleans()))
    if has_box:
        one["box_xywh"] = [draw(numbers) for _ in range(4)]
    one["box_xywh"] = box_of(one)
    for flag in flags:
        if draw(st.booleans()):
            one[flag] = True
    return one


def pictures(**options):
    several = st.lists(st.lists(objects(**options), max_size=3), min_size=1, max_size=3)
    return several.map(
        lambda all_: [Annotated(f"p{n}.png", some, (WIDTH, HEIGHT)) for n, some in enumerate(all_)]
    )


def bare(some):
    """The objects without what is null."""
    return [
        [{k: v for k, v in one.items() if v is not None} for one in picture.objects]
        for picture in some
    ]


@QUICK
@given(pictures(score=True, flags=("is_crowd",)))
def test_coco(some):
    with tempfile.TemporaryDirectory() as folder:
        where = f"{folder}/all.json"
        coco.dump_coco(some, LABELS, where, ToldObject())
        found = coco.load_coco(where, ToldObject())
    assert bare(found) == bare(some)
    assert [(p.file_name, p.size_wh) for p in found] == [(p.file_name, p.size_wh) for p in some]


@QUICK
@given(pictures(kinds=("box",), flags=("is_difficult",)), st.booleans())
def test_voc(some, one_based):
    notes = ToldObject()
    with tempfile.TemporaryDirectory() as folder:
        voc.dump_voc(some, LABELS, folder, notes, one_based=one_based)
        found = voc.load_voc(folder, ToldObject(), one_based=one_based)
    assert bare(found) == bare(some) and notes.sentences() == []
    assert [(p.file_name, p.size_wh) for p in found] == [(p.file_name, p.size_wh) for p in some]


@QUICK
@given(
    st.sampled_from(["box", "outline", "points"]).flatmap(
        lambda kind: pictures(numbers=millionths, kinds=(kind,), score=kind != "outline")
    )
)
def test_yolo(some):
    notes = ToldObject()
    with tempfile.TemporaryDirectory() as folder:
        yolo.dump_yolo(some, LABELS, folder, notes)
        names = [p.file_name for p in some]
        found = yolo.load_yolo(folder, ToldObject(), pictures=names, sizes=lambda name: (WIDTH, HEIGHT))
    assert bare(found) == bare(some) and notes.sentences() == []


@QUICK
@given(pictures(score=True))
def test_labelme(some):
    with tempfile.TemporaryDirectory() as folder:
        labelme.dump_labelme(some, LABELS, folder, ToldObject())
        found = labelme.load_labelme(folder, ToldObject())
    assert bare(found) == bare(some)
    assert [(p.file_name, p.size_wh) for p in found] == [(p.file_name, p.size_wh) for p in some]


def test_each_format_through_read_and_write(tmp_path):
    """A box in each of three pictures, one of them empty, through all four formats one after another."""
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / f"in/{n}.png").write_bytes(
            codec.encode(np.full((HEIGHT, WIDTH, 3), n, np.uint8))
        )
    cat, dog = [1.0, 2.5, 30.0, 20.25], [0.0, 0.0, 301.0, 97.0]
    boxes = [
        [{"label": "cat", "box_xywh": cat}, {"label": "dog", "box_xywh": dog}],
        [],
        [{"label": "cat", "box_xywh": [200.125, 50.0, 10.0, 47.0]}],
    ]
    some = [
        Annotated(f"{n}.png", [{**one, "score": None} for one in objects])
        for n, objects in enumerate(boxes)
    ]
    for picture in some:
        picture.size_wh = (WIDTH, HEIGHT)
    coco.dump_coco(some, ["cat", "dog"], str(tmp_path / "coco.json"), ToldObject())
    table = annotations.read(tmp_path / "coco.json", images=tmp_path / "in")["train"]
    assert table.column_names == ["image_id", "file_name", "objects", "source"]
    assert table["source"].to_pylist() == [f"{tmp_path}/in/{n}.png" for n in range(3)]
    first = table["objects"].to_pylist()
    assert [[one["box_xywh"] for one in objects] for objects in first] == [
        [o["box_xywh"] for o in s] for s in boxes
    ]
    sizes = {"width": [WIDTH] * 3, "height": [HEIGHT] * 3}
    for form in ("voc", "yolo", "labelme", "coco"):
        where = tmp_path / ("written.json" if form == "coco" else form)
        given_table = table
        for name, values in sizes.items():
            given_table = given_table.append_column(name, [values])
        annotations.write(given_table, where, form)
        options = {"one_based": True} if form == "voc" else {}
        table = annotations.read(where, images=tmp_path / "in", **options)["train"]
        assert table["objects"].to_pylist() == first, form
        assert Path(where).exists()


def test_annotations_are_imported_from_the_package_itself():
    from imgprep import annotations as public

    assert public is annotations
