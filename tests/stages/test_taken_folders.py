"""A folder in which something stands is never replaced: by any verb, whoever made what is there."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
from made import folder, picture, table, tree

import imgprep
from imgprep import dataset
from imgprep.app import dedup, soundness
from imgprep.display import gallery, report
from imgprep.picture import codec
from imgprep.rows import annotations, labels, sources
from imgprep.stages import (
    batch_requests,
    exports,
    film,
    images,
    pairs,
    search,
    segmentation,
    tags,
    upload,
    variants,
)

WHOLE = {"tile": 8, "block": 1, "margin": 0, "shares": {"train": 1.0}}


def same(image):
    return image


VECTOR = {"embedding": datasets.List(datasets.Value("float32"))}


def found(image):
    return {"embedding": np.float32(image.reshape(-1)[:8])}


def other(image):
    return image[::-1]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What the verbs take: rows, and datasets of them."""
    home = tmp_path_factory.mktemp("given")
    rows = {"train": table(folder(home / "in", 2))}
    with imgprep.session("local", workers=0):
        yield {
            "home": home,
            "rows": rows,
            "plain": images.transform(rows, str(home / "plain"), same),
            "sizes": variants.build(rows, str(home / "sizes"), thumbnail_side=8),
            "masks": segmentation.segment(rows, str(home / "masks"), "otsu dark"),
            "tagged": tags.find(rows, str(home / "tagged"), taggers=["tone"]),
            "found": images.transform(rows, str(home / "found"), found, features=VECTOR),
            "ids": rows["train"]["image_id"].to_pylist(),
        }


VERBS = {
    "download": lambda g, out: images.download(g["rows"], out),
    "transform": lambda g, out: images.transform(g["rows"], out, same),
    "another function": lambda g, out: images.transform(g["rows"], out, other),
    "copy": lambda g, out: images.copy(g["plain"], {"train": g["plain"].table("train")}, out),
    "variants": lambda g, out: variants.build(g["rows"], out, thumbnail_side=8),
    "upload": lambda g, out: upload.upload(g["sizes"], str(g["home"] / "store"), out),
    "segment": lambda g, out: segmentation.segment(g["rows"], out, "otsu dark"),
    "pairs": lambda g, out: pairs.write(g["masks"], out, **WHOLE),
    "tags": lambda g, out: tags.find(g["rows"], out, taggers=["tone"]),
    "frames": lambda g, out: film.extract_frames(g["rows"], out, every_s=1),
    "ladders": lambda g, out: film.transcode(g["rows"], out, sides=[16]),
}
OTHERS = {
    "merge": lambda g, out: tags.merge([g["tagged"], g["tagged"]], out),
    "without": lambda g, out: search.without(g["tagged"], g["ids"][:1], out),
    "map": lambda g, out: search.place_on_map(g["found"], out),
    "dedup": lambda g, out: dedup.write_deduplicated(g["plain"], [], out),
    **{form: lambda g, out, form=form: exports.export(g["plain"], out, form) for form in exports.FORMS},
}
MADE = [name for name in VERBS if name not in ("frames", "ladders")]  # a PNG is no film, so nothing comes of it


@pytest.fixture(scope="module")
def taken(given, tmp_path_factory):
    """A folder made by each verb."""
    home = tmp_path_factory.mktemp("taken")
    for name in MADE:
        VERBS[name](given, str(home / name))
    return home


@pytest.mark.parametrize("name", [*VERBS, *OTHERS])
def test_no_verb_replaces_what_another_made(given, taken, name):
    for maker in MADE:
        is_copy = maker == "copy" and name in ("merge", "without", "map", "dedup")
        if maker == name or is_copy:
            continue
        out = taken / maker
        before = tree(out)
        with pytest.raises(ValueError, match="name another folder|name a new folder"):
            {**VERBS, **OTHERS}[name](given, str(out))
        assert tree(out) == before, (name, maker)


@pytest.mark.parametrize("name", [*VERBS, *OTHERS])
def test_no_verb_touches_a_folder_of_somebody_else(given, tmp_path, name):
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "thesis.txt").write_text("years of work")
    (mine / "a.png").write_bytes(codec.encode(picture(1)))
    before = tree(mine)
    with pytest.raises(ValueError, match="name another folder|name a new folder"):
        {**VERBS, **OTHERS}[name](given, str(mine))
    assert tree(mine) == before


OF_ITS_OWN = {"transform": "plain", "variants": "sizes", "segment": "masks", "tags": "tagged"}


@pytest.mark.parametrize("name", [*VERBS, "merge", "without", "map", "dedup"])
def test_no_verb_writes_into_its_source(given, name):
    """Into the pictures' own folder, or the dataset folder that it is given."""
    home = given["home"]
    before = tree(home / "in")
    for out in {home / "in", home / "plain", home / "tagged"} - {home / OF_ITS_OWN.get(name, "")}:
        with pytest.raises(ValueError):
            {**VERBS, **OTHERS}[name](given, str(out))
    assert tree(home / "in") == before
    assert dataset.open(str(home / "plain")).counts()["ok"] == 2


def test_files_that_are_written_beside_others_leave_those_alone(given, tmp_path):
    mine = [tmp_path / "notes.txt", tmp_path / "search" / "notes.txt"]
    mine.append(tmp_path / "page-pictures" / "000" / "notes.txt")
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    batch_requests.write(given["plain"], str(tmp_path), model="m", prompt="p", variant="any")
    with pytest.raises(ValueError, match="search is there already, and no index: name a new folder"):
        search.build(given["tagged"], folder=str(tmp_path / "search"))
    with pytest.raises(ValueError, match=r"did not write \(notes.txt …\): name another page"):
        gallery.check_pictures_only(tmp_path / "page-pictures")
    with pytest.raises(ValueError, match="notes.txt is there already: name another file"):
        search.to_sqlite(given["tagged"], tmp_path / "notes.txt")
    assert [path.read_text() for path in mine] == ["mine"] * 3


@pytest.mark.parametrize("name", ["thesis.html", "photo.png", "README.md"])
def test_a_page_replaces_only_a_page(given, tmp_path, name):
    pages = {
        "gallery": lambda path: gallery.write_gallery(path, given["tagged"], words=False),
        "report": lambda path: report.write(path, [given["plain"]], title="a"),
    }
    for make in pages.values():
        mine = tmp_path / name
        mine.write_bytes(b"<!doctype html><title>mine</title>" * 200)
        before = mine.read_bytes()
        with pytest.raises(ValueError, match=f"{name} is there already, and no page of imgprep"):
            make(mine)
        assert mine.read_bytes() == before
        with pytest.raises(ValueError, match="is a folder: name a file in it"):
            make(tmp_path)
        for _ in range(2):  # its own page is made anew
            make(tmp_path / "page.html")
        (tmp_path / "page.html").write_bytes(b"")
        make(tmp_path / "page.html")


def test_objects_do_not_go_among_the_rows_of_a_dataset(given, tmp_path):
    sizes, plain, out = given["sizes"], given["plain"], str(tmp_path / "up")
    for target in (plain.folder, sizes.folder, f"{plain.folder}/data", out, f"{out}/objects"):
        with pytest.raises(ValueError, match="name a folder beside it"):
            upload.upload(sizes, target, out)
    with pytest.raises(ValueError, match="lies in the source"):
        upload.upload(str(given["home"] / "in"), str(given["home"] / "in" / "store"), out)
    assert soundness.check_folders([plain.folder, sizes.folder])[0].problems == []


def test_a_labelled_table_does_not_take_the_place_of_its_input(tmp_path):
    folder(tmp_path / "in", 2)
    table_csv = tmp_path / "mine.csv"
    table_csv.write_text("url,status\nin/0000.png,new\nin/0001.png,old\n")
    before = table_csv.read_bytes()
    rows = sources.read({"train": table_csv}, url_column="url", rename={"status": "my_status"})
    with imgprep.session("local", workers=0):
        ds = images.download(rows, str(tmp_path / "out"))
    told = {"rename": {"status": "my_status"}}
    with pytest.raises(ValueError, match="mine.csv is there already, and no labelled table: name another file"):
        labels.write_csv(ds, "train", table_csv, str(table_csv), **told)
    assert table_csv.read_bytes() == before
    for _ in range(2):  # its own it replaces
        labels.write_csv(ds, "train", table_csv, str(tmp_path / "labelled.csv"), **told)


BOXES = [[{"label": "mug", "score": 1.0, "box_xywh": [0, 0, 4, 4]}]] * 2
FORMS = {"coco": "boxes.json", "voc": "boxes/0000.xml", "yolo": "boxes/0000.txt", "labelme": "boxes/0000.json"}


@pytest.mark.parametrize("form", FORMS)
def test_boxes_drawn_by_hand_are_not_replaced(given, tmp_path, form):
    kind = datasets.Features(annotations.object_features()).arrow_schema.field("objects").type
    rows = given["plain"].table("train").append_column("objects", pa.array(BOXES, kind))
    rows = rows.append_column("file_name", [["0000.png", "0001.png"]])
    first = tmp_path / FORMS[form]
    where = str(first if form == "coco" else first.parent)

    def write(table):
        annotations.write({"train": table}, where, form)

    first.parent.mkdir(exist_ok=True)
    first.write_text("drawn by hand")
    with pytest.raises(ValueError, match="is there already, and not as this wrote it: name another place"):
        write(rows)
    assert first.read_text() == "drawn by hand"
    first.unlink()
    write(rows)
    write(rows.slice(0, 2).set_column(rows.column_names.index("objects"), "objects", pa.array([[], []], kind)))
    assert "mug" not in first.read_text(), "what it wrote itself it replaces"
    first.write_text(first.read_text() + " ")
    with pytest.raises(ValueError, match="not as this wrote it"):
        write(rows)
    assert not list(tmp_path.glob(".annotations-*"))
    for name in ("../0000.png", "/tmp/0000.png", "a/../../0000.png", "C:\\0000.png"):
        away = rows.set_column(rows.column_names.index("file_name"), "file_name", [[name, "0001.png"]])
        with pytest.raises(ValueError, match="leads out of the folder of annotations"):
            write(away)
