"""Facts about the report: its numbers are the datasets' numbers, and nothing in the data can break or betray it."""

import hashlib
import html.parser
import itertools
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from browser import Page
from made import table

import imgprep
from imgprep.dataset.counts import commonest_error
from imgprep.display import charts, findings, likeness, report
from imgprep.picture import codec, geometry
from imgprep.stages import images, segmentation, variants

KINDS = ["mug", "jar", "box"]
HOSTILE = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>{{ 7 * 7 }}"


def scene(n: int, size_wh: tuple[int, int] = (96, 72)) -> np.ndarray:
    """A smooth picture unlike any other: soft spots of colour, (H, W, 3) uint8."""
    spots = np.random.default_rng(n).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(spots, size_wh, interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module", autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def pipeline(root: Path, rows: dict[str, list[tuple]], **columns: dict[str, list]) -> list:
    """raw and ocr datasets of rows (file name, its bytes or None for no file). columns: name -> split -> cells."""
    (root / "in").mkdir(parents=True)
    tables = {}
    for split, files in rows.items():
        for file, data in files:
            if data is not None:
                (root / "in" / file).write_bytes(data)
        cells = {column: pa.array(by_split[split], pa.string()) for column, by_split in columns.items()}
        tables[split] = table([str(root / "in" / file) for file, _ in files], **cells)
    raw = images.download(tables, str(root / "raw"), max_failed=1.0)
    return [raw, images.transform(raw, str(root / "ocr"), geometry.fit_pad, size_wh=[32, 32], max_failed=1.0)]


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """24 rows and 12; four failures, a leak of equal bytes, and a look-alike in train. Every label in both splits."""
    png = [codec.encode(scene(n)) for n in range(32)]
    train = [(f"a{n}.png", png[n]) for n in range(20)]
    train += [("again.jpg", codec.encode(scene(3), "JPEG", quality=60)), ("gone.png", None), ("gone2.png", None)]
    train += [("short.png", png[20][:400])]
    test = [(f"b{n}.png", png[n]) for n in range(21, 31)] + [("leak.png", png[5]), ("page.jpg", b"<html>no</html>")]
    kinds = {"train": KINDS * 8, "test": KINDS * 4}
    return pipeline(tmp_path_factory.mktemp("products"), {"train": train, "test": test}, kind=kinds)


class Parsed(html.parser.HTMLParser):
    """tags: every (tag, attributes) in order; text: by the id of the innermost section; scripts: id -> text."""

    VOID = {"meta", "img", "input", "br", "path", "link", "hr"}

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.open, self.texts, self.scripts = [], [], [], {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "script":
            key = self.open[-1][1].get("id", f"script {len(self.scripts)}")
            self.scripts[key] = self.scripts.get(key, "") + data
        elif not any(tag == "style" for tag, _ in self.open):
            sections = [a.get("id", a.get("class")) for t, a in self.open if t == "section" or a.get("class") == "hero"]
            self.texts.append((sections[-1] if sections else "", data))

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]

    def text(self, section: str) -> str:
        return " ".join(" ".join(t for s, t in self.texts if s == section).split())

    @property
    def facts(self) -> dict:
        return json.loads(self.scripts["imgprep"])


def written(path: Path, datasets, **options) -> Parsed:
    page = Parsed(report.write(path, datasets, title=options.pop("title", "products"), **options).read_text("utf-8"))
    assert not page.open, "every element is closed"
    return page


@pytest.fixture(scope="module")
def page(products, tmp_path_factory) -> Parsed:
    return written(
        tmp_path_factory.mktemp("page") / "report.html", products,
        parameters={"out": "data/mine", "size_wh": [32, 32], "note": 300 * "long ", "url": "https://me:SECRET@example.org/t.csv?token=SECRET"},
        defaults={"out": "data/products", "size_wh": [32, 32], "url": ""},
        command="imgprep run products -p out=data/mine",
        steps=[{"notebook": "01_download.ipynb", "seconds": 1.5, "status": "done"}],
    )  # fmt: skip


# What it says --------------------------------------------------------------------------------------------------------


def test_the_first_screen_says_what_came_out(page):
    hero = page.text("hero")
    assert "32 of 36 pictures ready" in hero
    assert "4 placeholders: missing_file 2, not_an_image 1, truncated 1" in hero
    assert "1 picture in more than one split" in hero


def test_sections_come_in_the_order_in_which_one_asks(page):
    ids = [a["id"] for a in page.all("section")]
    assert ids == ["outcome", "gallery", "compare", "classes", "sizes", "duplicates", "outliers", "time", "provenance"]
    assert [a["href"] for a in page.all("a")][1:10] == [f"#{i}" for i in ids]


def test_the_facts_for_programs_are_the_datasets_counts(page, products):
    assert page.facts["counts"] == products[-1].counts()
    assert page.facts["verdict"].startswith("32 of 36 pictures ready; 4 placeholders: missing_file 2, ")
    steps = {f["split"]: [(s["name"], s["ok"]) for s in f["steps"]] for f in page.facts["funnel"]}
    assert steps["train"] == [("rows", 24), ("raw", 21), ("ocr", 21)]
    assert steps["test"] == [("rows", 12), ("raw", 11), ("ocr", 11)]


def test_failures_stand_under_their_reason_with_examples(page):
    text = page.text("outcome")
    assert "missing_file no such file or object 2" in text and "…/gone.png" in text and "…/gone2.png" in text
    found = [(r["word"], r["splits"], len(r["examples"])) for r in page.facts["reasons"]]
    assert found == [
        ("missing_file", {"train": 2}, 2), ("not_an_image", {"test": 1}, 1), ("truncated", {"train": 1}, 1),
    ]  # fmt: skip


def test_the_gallery_shows_every_label_of_both_splits_and_no_placeholder(page, products):
    words = [a["aria-label"].removeprefix("Enlarge ").split(", ") for a in page.all("button")]
    assert {(kind, split) for kind, split, _ in words} == set(itertools.product(KINDS, ["train", "test"]))
    rows = [row for split in products[-1].splits for row in products[-1].table(split).to_pylist()]
    assert {image_id for _, _, image_id in words} <= {row["image_id"] for row in rows if row["status"] == "ok"}
    text = page.text("gallery")
    assert text.count("raw 96 × 72 · ") == text.count("ocr 32 × 32 · ") == len(words), "each beside what it was"


def test_leaks_come_first_and_look_alikes_are_found(page):
    groups = [(g["exact"], g["size"], g["splits"]) for g in page.facts["duplicates"]["groups"]]
    assert groups == [(True, 2, ["train", "test"]), (False, 2, ["train"])]
    text = page.text("duplicates")
    assert text.index("In more than one split: 1 group") < text.index("Within one split: 1 group")
    assert "Equal files in train and test" in text


def test_classes_and_formats_count_ready_pictures_only(page):
    assert {c["name"]: c["counts"] for c in page.facts["classes"]} == {"mug": [7, 4], "jar": [7, 4], "box": [7, 3]}
    assert [(f["name"], f["counts"]) for f in page.facts["formats"]] == [("PNG", [20, 11]), ("JPEG", [1, 0])]


def test_changed_parameters_are_marked_and_secrets_are_not_shown(page):
    text = page.text("provenance")
    assert "out data/mine changed from data/products" in text and "size_wh [32, 32] note long" in text
    assert "imgprep run products -p out=data/mine" in text and "python" in text
    assert "https://example.org/t.csv?token=***" in text
    assert "SECRET" not in repr(page.tags) + repr(page.texts) + repr(page.scripts)


def test_a_parameter_whose_name_is_a_secrets_shows_none(products, tmp_path):
    given = {"api_key": "hunter2-and-more", "credentials_env": "MY_KEYS", "note": "token=hunter2-and-more"}
    old = {"api_key": "hunter2-old"}
    path = report.write(tmp_path / "r.html", products[:1], title="x", parameters=given, defaults=old)
    text = path.read_text("utf-8")
    assert "hunter2" not in text and "MY_KEYS" in text and "changed from" in text


def test_histograms_hold_every_picture_once(products):
    rows = findings.all_rows(products[0], "kind")
    for chart in charts.of_sizes(rows[rows.status == "ok"], ["train", "test"]):
        assert {split: sum(counts) for split, counts in chart["counts"].items()} == {"train": 21, "test": 11}


def test_pictures_that_share_only_their_layout_are_no_look_alikes():
    ok = pd.DataFrame({"sha256": ["a", "b", "c"], "split": ["train", "test", "test"]})
    looks = np.linalg.qr(np.random.default_rng(0).normal(size=(256, 2)))[0].T.astype(np.float32)
    measured = ok.assign(hash=[7, 7, 7], look=[looks[0], looks[1], looks[0]])  # all three hashes are equal
    groups = likeness.duplicates(ok, measured)["groups"]
    assert [(g["shas"], g["leak"]) for g in groups] == [(["a", "c"], True)]


def test_one_dataset_alone_has_no_before_and_after(products, tmp_path):
    page = written(tmp_path / "r.html", [products[0].folder])
    assert "compare" not in [a["id"] for a in page.all("section")] and "32 of 36" in page.text("hero")


def test_a_dataset_without_one_good_picture_still_has_a_report(tmp_path):
    page = written(tmp_path / "r.html", pipeline(tmp_path, {"train": [("gone.png", None)]}))
    assert "0 of 1 picture ready; 1 placeholder: missing_file 1" == page.facts["verdict"]


def test_the_sizes_of_a_picture_are_shown_beside_one_another_and_are_no_duplicates_of_it(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(5):
        (tmp_path / "in" / f"{n}.jpg").write_bytes(codec.encode(scene(n, (400, 300)), "JPEG", quality=95))
    made = variants.build(str(tmp_path / "in"), str(tmp_path / "sizes"), vision_max_side=200, thumbnail_side=64)
    page = written(tmp_path / "report.html", [made])
    facts = page.facts
    assert [(v["name"], v["pictures"], v["side"], v["kept"]) for v in facts["variants"]] == [
        ("original", 5, 400, 5), ("vision", 5, 200, 0), ("thumbnail", 5, 64, 0)]  # fmt: skip
    rows = pa.table(made.table("train")).to_pylist()
    assert facts["variants"][1]["bytes"] == sum(row["nbytes"] for row in rows if row["variant"] == "vision")
    text = page.text("variants")
    assert "original: 400 × 300 · JPEG, as it was" in text and "thumbnail: 64 × 48 · JPEG, quality 85" in text
    assert not facts["duplicates"]["groups"] and facts["splits"] == [{"name": "train", "rows": 5}]
    assert facts["label"] == "", "the name of a file is no label because it stands in three rows"


@pytest.fixture(scope="module")
def dealt(tmp_path_factory):
    """A dataset of one split, and of two that its rows were dealt out to: one picture is in both, one row is gone."""
    home = tmp_path_factory.mktemp("dealt")
    png = [codec.encode(scene(n)) for n in range(20)]
    files = [(f"a{n}.png", png[n]) for n in range(20)] + [("again.png", png[3]), ("gone.png", None)]
    (raw, _) = pipeline(home, {"whole": files}, kind={"whole": ["mug", "jar"] * 11})
    rows = raw.table("whole")
    tables = {"train": rows.slice(0, 15), "test": rows.slice(15, 6)}
    return [raw, images.copy(raw, tables, str(home / "split"))]


def test_rows_that_were_dealt_out_are_no_loss_and_all_splits_are_shown(dealt, tmp_path):
    page = written(tmp_path / "r.html", dealt)
    funnel = {f["split"]: [(s["name"], s["rows"], s["ok"]) for s in f["steps"]] for f in page.facts["funnel"]}
    assert funnel == {
        "all splits": [("rows", 22, 22), ("raw", 22, 21), ("split", 21, 21)],
        "train": [("rows", 15, 15), ("split", 15, 15)],
        "test": [("rows", 6, 6), ("split", 6, 6)],
    }
    assert page.facts["splits"] == [{"name": "train", "rows": 15}, {"name": "test", "rows": 6}]
    assert {c["name"]: c["counts"] for c in page.facts["classes"]} == {"mug": [8, 3], "jar": [7, 3]}
    assert [g["splits"] for g in page.facts["duplicates"]["groups"]] == [["train", "test"]]
    assert "1 picture in more than one split" in page.text("hero")
    words = [a["aria-label"].removeprefix("Enlarge ").split(", ")[1] for a in page.all("button")]
    assert {*words} == {"train", "test"}
    assert page.text("gallery").count("raw 96 × 72 · ") == len(words), "each beside what it was"


def test_rows_that_changed_places_between_the_same_splits_are_no_loss(dealt, tmp_path):
    split = dealt[1]
    train, test = split.table("train"), split.table("test")
    tables = {"train": test, "test": train}
    swapped = images.copy(split, tables, str(tmp_path / "swapped"))
    page = written(tmp_path / "r.html", [split, swapped])
    funnel = {f["split"]: [s["ok"] for s in f["steps"]] for f in page.facts["funnel"]}
    assert funnel == {"all splits": [21, 21, 21], "train": [6, 6], "test": [15, 15]}


def test_the_commonest_error_stands_in_its_own_words(tmp_path):
    def fail(image):
        raise KeyError("x" if image.mean() < 128 else "y")

    (tmp_path / "in").mkdir()
    for n in range(7):
        flat = np.full((8, 8, 3), 250 if n > 4 else n, np.uint8)
        (tmp_path / "in" / f"{n}.png").write_bytes(codec.encode(flat))
    made = images.transform(str(tmp_path / "in"), str(tmp_path / "out"), fail, max_failed=1.0)
    page = written(tmp_path / "r.html", [made])
    (reason,) = page.facts["reasons"]
    assert (reason["word"], reason["rows"], reason["times"]) == ("error", 7, 5)
    assert "KeyError: 'x'” on 5 of 7" in page.text("outcome")


def test_a_report_of_masks_says_what_it_shows(tmp_path):
    spots = np.full((90, 120, 3), 220, np.uint8)
    spots[10:20, 10:30] = spots[50:60, 80:90] = 30
    for n in range(2):
        (tmp_path / f"{n}.png").write_bytes(codec.encode(spots))
    made = segmentation.segment([str(tmp_path / f"{n}.png") for n in range(2)], str(tmp_path / "out"), ["otsu"])
    page = written(tmp_path / "r.html", [made])
    assert "4 objects, 2.8% foreground in 2 pictures." in page.text("hero")
    assert page.text("gallery").startswith("Gallery Each picture as a whole, small, with its mask on it.")
    assert page.text("sizes").startswith("Sizes Of the pictures that were segmented (out)")
    assert [h["name"] for h in page.facts["histograms"]] == ["Width, px", "Height, px", "Width : height"]
    assert page.facts["formats"] == [] and "outliers" not in [a["id"] for a in page.all("section")]


def test_masks_in_words_say_what_is_missing():
    mask = {"foreground": 0.5, "count": None, "iou": 0.5, "f1": None, "pq": None, "tiles": 4, "failed_tiles": 0}
    assert [n["text"] for n in findings.masks_in_words([mask])] == [
        "50.0% foreground in 1 picture", "Against the truth, the median of the pictures: IoU 0.500",
    ]  # fmt: skip
    (_, bad) = findings.masks_in_words([{**mask, "iou": None, "failed_tiles": 1}])
    assert bad == {"text": "1 of 4 tiles failed: their part of the mask is empty", "is_bad": True}
    assert findings.masks_in_words([]) == []


def test_what_differs_from_row_to_row_is_the_same_error():
    rows = pd.DataFrame({"error": [f"cannot read /in/{n}.png: no" for n in range(1000, 1003)] + ["other", ""]})
    rows["source"] = [f"/in/{n}.png" for n in range(1000, 1005)]
    rows["image_id"] = "abcd"
    assert commonest_error(findings.without_own_names(rows)) == ("cannot read …: no", 3)


def test_no_dataset_or_a_folder_that_is_none_is_the_users_mistake(tmp_path):
    with pytest.raises(ValueError, match="at least one dataset"):
        report.write(tmp_path / "r.html", [], title="x")
    with pytest.raises(ValueError, match="no dataset folder"):
        report.write(tmp_path / "r.html", [tmp_path], title="x")


def test_of_many_pictures_an_even_sample_is_compared_and_the_page_says_so(products, tmp_path, monkeypatch):
    monkeypatch.setattr(likeness, "SAMPLE", 5)
    monkeypatch.setattr(likeness, "RUN_LENGTH", 2)
    rows = findings.all_rows(products[0], None)
    measured = likeness.measured_rows(products[0], rows[rows.status == "ok"])
    assert 0 < len(measured) <= 5 and measured.index[-1] > 10
    text = written(tmp_path / "r.html", products).text("duplicates")
    assert "4 compared, an evenly placed sample of 31 different ones" in text


# What it is ----------------------------------------------------------------------------------------------------------


def test_it_asks_the_network_for_nothing_and_runs_nothing(page, file):
    policy = page.all("meta")[1]["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            assert (attrs.get(name) or "data:").startswith(("data:", "#")), attrs
        assert "url(" not in (attrs.get("style") or "")
    assert not page.all("link") and not page.all("iframe")
    style = re.search(r"<style>(.*?)</style>", file.read_text("utf-8"), re.S)[1]
    assert "url(" not in style and "@import" not in style and "http" not in style


def test_it_can_be_read_without_eyes(page):
    assert page.all("html")[0]["lang"] == "en"
    assert all("alt" in a for a in page.all("img")) and len(page.all("img")) > 40
    assert all(a.get("type") == "button" for a in page.all("button"))
    assert len(page.all("caption")) == len(page.all("table")), "every table says what it is"
    assert all(a["role"] == "img" and a["aria-label"] for a in page.all("svg"))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} | {a["aria-labelledby"] for a in page.all("section")} <= set(ids)


def test_nothing_in_the_data_becomes_markup(tmp_path):
    files = [(f"{n}<img src=x onerror=window.pwned=1>.png", codec.encode(scene(n))) for n in range(4)]
    rows = {"train": [*files, (f"{HOSTILE.replace('/', '')}.png", None)]}
    page = written(tmp_path / "r.html", pipeline(tmp_path, rows, kind={"train": [HOSTILE, "=1+1"] * 2 + [HOSTILE]}),
                   title=HOSTILE, parameters={HOSTILE: HOSTILE}, defaults={HOSTILE: 1}, command=HOSTILE,
                   steps=[{"notebook": HOSTILE, "seconds": 1, "status": HOSTILE}])  # fmt: skip
    assert page.all("script") == [{"type": "application/json", "id": "imgprep"}]
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert page.facts["title"] == HOSTILE and HOSTILE in page.text("hero")
    assert all(a["src"].startswith("data:") for a in page.all("img"))


def test_no_path_of_this_machine_and_no_secret_leaves_it(tmp_path):
    files = [(f"{n}.png", codec.encode(scene(n))) for n in range(2)]
    datasets = pipeline(tmp_path / "my pictures", {"train": [*files, ("gone.png", None)]})
    (tmp_path / "t.csv").write_text("a\n1\n")
    path = report.write(tmp_path / "r.html", datasets, title="x", parameters={"train_csv": str(tmp_path / "t.csv")},
                        command=f"imgprep run p -p train_csv={tmp_path}/t.csv -p out={tmp_path}/out")  # fmt: skip
    text = path.read_text("utf-8")
    assert str(tmp_path) not in text and str(tmp_path.parent) not in text and str(Path.home()) not in text
    assert "imgprep run p -p train_csv=…/t.csv -p out=…/out" in text
    assert Parsed(text).facts["inputs"]["…/t.csv"] == hashlib.sha256(b"a\n1\n").hexdigest()


def test_the_same_pictures_give_the_same_page_but_for_its_time(tmp_path):
    png = [(f"{n}.png", codec.encode(scene(n))) for n in range(7)]
    files = {"train": png[:6], "test": png[6:]}
    pages = []
    for name in ("one", "two"):
        datasets = pipeline(tmp_path / name, files)
        text = report.write(tmp_path / f"{name}.html", datasets, title="x").read_text("utf-8")
        time = r'<time>.*?</time>|<section id="time".*?</section>|"time": \{.*?\}, "title"'
        text = re.sub(time, "", text, flags=re.S)
        pages.append(re.sub(r"[0-9a-f]{8}-\d", "id", text))  # image_id is made from the path, which differs here
    assert pages[0] == pages[1]


def test_a_page_that_would_be_too_large_shows_fewer_pictures(products, tmp_path, monkeypatch):
    whole = written(tmp_path / "whole.html", products)
    goal = (tmp_path / "whole.html").stat().st_size * 2 // 3
    monkeypatch.setattr(report, "GOAL_BYTES", goal)
    thin = written(tmp_path / "thin.html", products)
    assert (tmp_path / "thin.html").stat().st_size <= goal
    assert 0 < len(thin.all("img")) < len(whole.all("img")) and thin.facts["counts"] == whole.facts["counts"]


def test_a_page_of_noise_stays_under_five_megabytes(tmp_path):
    noise = [np.random.default_rng(n).integers(0, 256, (300, 400, 3), np.uint8) for n in range(40)]
    files = [(f"{n}.png", codec.encode(picture)) for n, picture in enumerate(noise)]
    rows = {"train": [(files[n % 40][0], None if n > 39 else files[n][1]) for n in range(300)]}
    rows["train"] += [(f"gone{n}.png", None) for n in range(100)]
    kinds = {"train": [f"kind {n % 30}" for n in range(400)]}
    path = report.write(tmp_path / "r.html", pipeline(tmp_path, rows, kind=kinds), title="x")
    assert path.stat().st_size <= 5 << 20
    assert "300 of 400 pictures ready" in Parsed(path.read_text("utf-8")).text("hero")


# How it looks and behaves --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(products, tmp_path_factory) -> Path:
    return report.write(tmp_path_factory.mktemp("look") / "report.html", products, title="products")


@pytest.fixture(scope="module")
def tab(needs):
    needs("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    with Page() as tab:
        yield tab


CONTRAST = """(() => {
  const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => (([r, g, b]) => .2126 * r + .7152 * g + .0722 * b)(c.match(/[\\d.]+/g).map(linear));
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return ["body", ".lead", ".soft", ".red", ".changed, .checks a", "header nav a"].map(s => {
    const ink = light(getComputedStyle(document.querySelector(s)).color);
    return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05) });
})()"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_window_and_can_be_read_in_both_themes(tab, file, dark, width):
    tab.resize(width, 900)
    tab.emulate(dark=dark)
    tab.open(file)
    assert tab.problems == [] and tab.requests == []
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert min(tab.run(CONTRAST)) >= 4.5, "WCAG AA for text"
    assert tab.run("document.querySelector('h1').getBoundingClientRect().bottom") < 900


def test_a_picture_opens_large_and_closes_by_key(tab, file):
    tab.open(file)
    tab.run("document.querySelector('.tile').focus()")
    tab.key("Enter")
    assert tab.run("document.querySelectorAll(':popover-open img').length") == 2
    tab.key("Escape")
    assert tab.run("document.querySelector(':popover-open') === null && document.activeElement.className") == "tile"


def test_hostile_data_runs_no_script(tab, tmp_path):
    files = [(f"{n}<img src=x onerror=window.pwned=1>.png", codec.encode(scene(n))) for n in range(4)]
    rows = {"train": [*files, ("gone.png", None)]}
    datasets = pipeline(tmp_path, rows, kind={"train": [HOSTILE, "x", HOSTILE, "x", "x"]})
    tab.open(report.write(tmp_path / "r.html", datasets, title=HOSTILE, parameters={"a": HOSTILE}, command=HOSTILE))
    assert tab.run("window.pwned === undefined") and tab.problems == [] and tab.requests == []
