"""Nothing to do, one picture, one that is none: every verb ends with a dataset or with a sentence."""

from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from made import folder, table

import imgprep
from imgprep.app import comparison, dedup, inventory, soundness
from imgprep.display import gallery, report, show
from imgprep.rows import annotations, labels, sources, splits
from imgprep.stages import (
    batch_requests,
    exports,
    film,
    images,
    pairs,
    publish,
    search,
    segmentation,
    tags,
    upload,
    variants,
)

CASES = {"none": (0, 0), "one": (1, 0), "broken": (0, 1), "both": (1, 1)}


@pytest.fixture(scope="module", params=CASES)
def few(request, tmp_path_factory):
    """(a folder, its table of rows, how many are ok, how many are not)"""
    ok, failed = CASES[request.param]
    home = tmp_path_factory.mktemp(request.param)
    paths = folder(home / "in", ok)
    if failed:
        (home / "in" / "broken.png").write_bytes(b"no picture")
        paths.append(str(home / "in" / "broken.png"))
    rows = {"train": table(paths or ["x"]).slice(0, len(paths))}
    with imgprep.session("local", workers=0):
        yield home, rows, ok, failed
    imgprep.close()


def same(image):
    return image


MAKERS = {
    "download": lambda rows, out: images.download(rows, out, max_failed=1.0),
    "transform": lambda rows, out: images.transform(rows, out, same, max_failed=1.0),
    "build": lambda rows, out: variants.build(rows, out, thumbnail_side=8, max_failed=1.0),
    "segment": lambda rows, out: segmentation.segment(rows, out, "otsu dark", max_failed=1.0),
    "find": lambda rows, out: tags.find(rows, out, taggers=["tone"], max_failed=1.0),
    "extract_frames": lambda rows, out: film.extract_frames(rows, out, every_s=1, max_failed=1.0),
}


@pytest.mark.parametrize("verb", MAKERS)
def test_a_stage_makes_a_dataset_whose_counts_add_up_and_does_nothing_twice(few, verb, capsys):
    home, rows, ok, failed = few
    out = str(home / verb)
    sizes = 3 if verb == "build" else 1
    if verb == "extract_frames":
        ok, failed = 0, ok + failed  # a PNG is no film
    made = MAKERS[verb](rows, out)
    counts = made.counts()
    assert counts["ok"] == sizes * ok
    assert counts["rows"] == counts["ok"] + counts["failed"] + counts["placeholder"] == sizes * ok + failed
    assert sum(counts["reasons"].values()) == failed
    capsys.readouterr()
    assert MAKERS[verb](rows, out).counts() == counts
    assert "to compute: " not in capsys.readouterr().out
    (checkup,) = soundness.check_folders([out])
    assert checkup.problems == [] and checkup.unknown == []
    if ok + failed:
        config = made.configs[0] if ok else "failures"
        opened = datasets.load_dataset(out, config, split="train", cache_dir=str(home / "cache"))
        assert opened.num_rows == (ok or failed)


@pytest.fixture(scope="module")
def made(few):
    """(where things go, a dataset of these rows, how many are ok, how many are not)"""
    home, rows, ok, failed = few
    ds = images.transform(rows, str(home / "made"), same, max_failed=1.0)
    return home / "of", ds, ok, failed


def test_what_takes_any_dataset_takes_these(made):
    home, ds, ok, failed = made
    for cell in (show.sheet(ds), show.failures(ds), show.rows(ds)):
        assert "nan" not in cell._repr_html_()
    page = report.write(home / "report.html", [ds, ds], title="few")
    assert f"{ok} of {ok + failed} picture" in Path(page).read_text()
    assert splits.hashed(ds)["train"].num_rows == ok + failed
    assert dedup.look_alikes(ds) == []
    dealt = splits.split({"train": ds.table("train")}, {"train": 0.5, "test": 0.5})
    assert sum(part.num_rows for part in dealt.values()) == ok + failed
    assert comparison.differences(ds.folder, ds.folder) == {}
    assert f"{ok + failed:>4}" in inventory.listing([ds.folder])
    kept = images.copy(ds, {"train": ds.table("train")}, str(home / "copy"))
    assert kept.counts() == ds.counts()
    kind = datasets.Features(annotations.object_features()).arrow_schema.field("objects").type
    objects = pa.array([None] * (ok + failed), kind)
    annotated = ds.table("train").append_column("objects", objects)
    annotated = annotated.append_column("file_name", annotated["image_id"])
    annotations.write({"train": annotated}, str(home / "coco.json"), "coco")


def test_tags_and_what_is_made_of_them(few):
    home, rows, ok, failed = few
    tagged = MAKERS["find"](rows, str(home / "tagged"))
    assert (len(tags.counted(tagged)) > 0) == (ok > 0)
    assert tags.merge([tagged, tagged], str(home / "merged")).counts() == tagged.counts()
    assert len(tags.agreement(tagged)) == 0
    index = search.build(tagged)
    assert repr(index).startswith(f"{ok} picture") and not index.search("zebra crossing").hits
    search.to_sqlite(tagged, home / "a.db")
    gallery.write_gallery(home / "gallery.html", tagged, words=False)
    with pytest.raises(ValueError, match="has no vectors in 'train': run tags.find with an embedder"):
        search.odd_ones(tagged)


def test_sizes_and_where_they_are_put(few):
    home, rows, ok, failed = few
    sized = MAKERS["build"](rows, str(home / "sizes"))
    up = upload.upload(sized, str(home / "store"), str(home / "up"), max_failed=1.0)
    assert up.counts() == sized.counts()
    assert upload.orphans(up) == [] and len(upload.public(up)) == 3 * ok
    show.places(up, upload.public(up))._repr_html_()
    show.sizes(sized)._repr_html_()


TO_OTHERS = {
    **{form: lambda ds, out, form=form: exports.export(ds, out, form) for form in exports.FORMS},
    "requests": lambda ds, out: batch_requests.write(ds, out, model="m", prompt="p", variant="any"),
    "hub": lambda ds, out: publish.publish(ds.folder, licence="mit"),
}


@pytest.mark.parametrize("form", TO_OTHERS)
def test_what_goes_to_others_has_a_picture_or_says_that_there_is_none(made, form):
    home, ds, ok, _ = made
    if ok:
        TO_OTHERS[form](ds, str(home / form))
        return
    with pytest.raises(ValueError, match="has no row that is ok|has no ok picture"):
        TO_OTHERS[form](ds, str(home / form))
    assert not list((home / form).rglob("*"))


def test_masks_and_pairs(few):
    home, rows, ok, failed = few
    found = MAKERS["segment"](rows, str(home / "masks"))
    show.overlay(found)._repr_html_()
    show.thresholds(found)._repr_html_()
    given = {"tile": 8, "block": 1, "margin": 0, "shares": {"train": 1.0}}
    if ok:
        assert pairs.write(found, str(home / "pairs"), **given).counts()["ok"] == 6
        return
    with pytest.raises(ValueError, match="there is no picture with a mask in what is given"):
        pairs.write(found, str(home / "pairs"), **given)


def test_a_table_with_a_header_only_is_told_and_one_with_a_row_is_labelled(tmp_path):
    (tmp_path / "in.csv").write_text("url,label\n")
    with pytest.raises(ValueError, match="in.csv has no rows"):
        sources.read({"train": tmp_path / "in.csv"}, url_column="url")
    (tmp_path / "in.csv").write_text("url,label\na.png,x\n")
    tables = sources.read({"train": tmp_path / "in.csv"}, url_column="url")
    with imgprep.session("local", workers=0):
        ds = images.download(tables, str(tmp_path / "out"), max_failed=1.0)
    assert ds.counts()["reasons"] == {"missing_file": 1}
    labelled = labels.write_csv(ds, "train", tmp_path / "in.csv", str(tmp_path / "labelled.csv"))
    assert len(Path(labelled).read_text().splitlines()) == 2
