"""The gallery in a real browser: it shows, finds, explains, corrects; and what a dataset says stays text."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from browser import Page, find
from conftest import missing

from imgprep import tags
from imgprep.display import gallery
from imgprep.display.gallery_data import collect, spread_order
from imgprep.picture import codec

HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"


class Colours:
    """An embedder of mean colours."""

    once, version, kind, name, model_version, has_words = True, 1, "colours", "colours", "1", False

    def __call__(self, image):
        mean = image.reshape(-1, 3).mean(0) - 60
        seen = mean @ np.random.default_rng(0).normal(size=(3, 96))
        return (seen / np.linalg.norm(seen)).astype(np.float32)


def taggers(image):
    mean = image.reshape(-1, 3).mean(0)
    name = ("rosy", "grassy", "azure")[int(mean.argmax())]
    box = {"box": [0.25, 0.25, 0.5, 0.5]}
    return [{"kind": "object", "name": name, "score": 0.8, "evidence": box}, {"kind": "object", "name": HOSTILE}]


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    where = tmp_path_factory.mktemp("gallery")
    folder = where / "pictures"
    folder.mkdir()
    for n in range(24):
        colour = np.full(3, 20)
        colour[n % 3] = 100 + 6 * n
        image = np.full((60 + 2 * n, 80, 3), colour, np.uint8)
        image[20:40, 20:40] = 255
        (folder / f"p{n:02d} <b>bold<b>.png").write_bytes(codec.encode(image, "PNG"))
    return tags.find(str(folder), str(where / "tagged"), taggers=["composition", "tone", taggers], embedder=Colours())


@pytest.fixture(scope="module")
def page_file(tagged, tmp_path_factory):
    return gallery.write_gallery(tmp_path_factory.mktemp("page") / "gallery.html", tagged, title=HOSTILE)


def test_the_same_dataset_gives_the_same_page(tagged, page_file, tmp_path):
    again = gallery.write_gallery(tmp_path / "g.html", tagged, title=HOSTILE)
    assert again.read_bytes() == page_file.read_bytes()


def test_the_page_tells_no_place_of_this_machine_and_asks_no_network(tagged, page_file):
    text = page_file.read_text("utf-8")
    assert str(tagged.folder) not in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert "script-src 'sha256-" in text
    assert "unsafe-inline'; script" in text  # styles alone
    assert text.count("<script>") == 1


def test_too_many_pictures_go_to_a_folder_beside_the_page(tagged, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "MOST_INSIDE", 10)
    path = gallery.write_gallery(tmp_path / "big.html", tagged)
    assert len(list((tmp_path / "big-pictures").rglob("*.webp"))) == 24
    assert "24 pictures are too many for one file" in capsys.readouterr().out
    assert path.stat().st_size < 200_000


def test_a_spread_order_holds_each_once_and_begins_everywhere():
    side = [n * 65535 // 31 for n in range(32)]
    x, y = [v for v in side for _ in side], side * 32
    order = spread_order(x, y, 1024)
    assert sorted(order) == list(range(1024))
    first = {(x[i] * 2 // 65536, y[i] * 2 // 65536) for i in order[:4]}
    assert len(first) == 4


def test_a_dataset_without_vectors_or_pictures_has_a_page(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    ds = tags.find(str(folder), str(tmp_path / "t"), taggers=["tone"], max_failed=1.0)
    assert collect(ds).places == []
    assert "There are no pictures yet" in gallery.write_gallery(tmp_path / "g.html", ds).read_text("utf-8")


@pytest.fixture(scope="module")
def page(page_file):
    if not find():
        pytest.skip("needs chromium")
    with Page(width=1280, height=860) as tab:
        tab.open(page_file)
        time.sleep(0.5)
        yield tab


@pytest.fixture
def fresh(page, page_file):
    page.resize(1280, 860)
    page.emulate()
    page.run("gallery.settle()")  # else the page asks whether it may go
    page.open("about:blank")
    page.open(page_file)
    page.run("new Promise(done => setTimeout(done, 300))")
    return page


def ask(page, script: str):
    return page.run(f"(() => {{ const root = gallery.root; {script} }})()")


@pytest.mark.browser
class TestPage:
    def test_it_shows_pictures_without_an_error_or_a_request(self, fresh):
        assert fresh.problems == [] and fresh.requests == []
        shown = "return [...root.querySelectorAll('.tile img')].filter(i => i.complete && i.naturalWidth).length"
        assert ask(fresh, shown) == 24

    def test_hostile_names_run_nothing_and_are_read_as_they_are(self, fresh):
        assert fresh.run("window.ran") is None
        ask(fresh, "gallery.open(0)")
        names = ask(fresh, "return [...root.querySelectorAll('.tag .what button')].map(b => b.textContent)")
        assert any(name.startswith("</script><script>") for name in names)
        assert ask(fresh, "return root.querySelectorAll('.side img[src=x], script').length") == 0
        assert ask(fresh, "return root.querySelector('h1').textContent").startswith("</script>")
        assert fresh.run("window.ran") is None

    def test_a_word_finds_its_tag_and_nonsense_finds_nothing(self, fresh):
        fresh.run("gallery.query.value = 'azure'; gallery.search()")
        assert fresh.run("gallery.results().length") == 8
        fresh.run("gallery.query.value = 'azure -azure'; gallery.search()")
        assert fresh.run("gallery.results().length") == 0
        fresh.run("gallery.query.value = 'zxqv'; gallery.search()")
        assert "Nothing here is like “zxqv”" in ask(fresh, "return root.querySelector('.empty').textContent")

    def test_filters_count_what_is_there(self, fresh):
        facets = "return [...root.querySelectorAll('.facet')].map(f => f.textContent)"
        assert "azure8" in ask(fresh, facets)
        ask(fresh, "[...root.querySelectorAll('.facet')].find(f => f.textContent === 'azure8').click()")
        assert fresh.run("gallery.results().length") == 8
        assert "rosy8" not in ask(fresh, facets)
        ask(fresh, "root.querySelector('.chip').click()")
        assert fresh.run("gallery.results().length") == 24

    def test_look_alikes_look_alike(self, fresh):
        rosy = "[...root.querySelectorAll('.facet')].find(f => f.textContent.startsWith('rosy'))"
        ask(fresh, f"gallery.choose(+{rosy}.dataset.tag)")
        ask(fresh, "gallery.open(0)")
        alts = ask(fresh, "return [...root.querySelectorAll('.like button')].slice(0, 5).map(b => b.ariaLabel)")
        assert all("rosy" in one for one in alts)

    def test_what_was_seen_is_drawn_where_it_is(self, fresh):
        ask(fresh, "gallery.open(0)")
        line = "[...root.querySelectorAll('.tag')].find(t => ['rosy','grassy','azure'].includes(t.dataset.name))"
        ask(fresh, f"{line}.onmouseenter()")
        at = ask(
            fresh,
            """const r = root.querySelector('.fit rect').getBoundingClientRect(),
            p = root.querySelector('.fit img').getBoundingClientRect();
            return [(r.x - p.x) / p.width, (r.y - p.y) / p.height, r.width / p.width, r.height / p.height]""",
        )
        assert at == pytest.approx([0.25, 0.25, 0.5, 0.5], abs=0.02)
        ask(fresh, f"{line}.onmouseleave()")
        assert ask(fresh, "return root.querySelector('.fit rect')") is None

    def test_the_keyboard_does_it_all(self, fresh):
        fresh.key("/")
        assert ask(fresh, "return root.activeElement.type") == "search"
        fresh.key("Enter")
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            fresh.key(key)
        here = ask(fresh, "return root.activeElement.ariaLabel")
        fresh.key("Enter")
        assert ask(fresh, "return root.querySelector('dialog').open")
        fresh.key("Escape")
        time.sleep(0.2)
        assert not ask(fresh, "return root.querySelector('dialog').open")
        assert ask(fresh, "return root.activeElement.ariaLabel") == here

    def test_corrections_are_saved_as_tags_apply_takes_them(self, fresh, tagged, tmp_path):
        ask(fresh, "gallery.open(0)")
        line = "[...root.querySelectorAll('.tag')].find(t => ['rosy','grassy','azure'].includes(t.dataset.name))"
        name = ask(fresh, f"const l = {line}; l.querySelector('.wrong').click(); return l.dataset.name")
        ask(fresh, "root.querySelector('dialog').close()")
        assert ask(fresh, "return root.querySelector('.note').textContent").endswith("Save 1 correction")
        said = fresh.run("gallery.corrections()")
        assert [(one["name"], one["accepted"]) for one in said] == [(name, False)]
        file = tmp_path / "corrections.json"
        file.write_text(json.dumps({"corrections": said}))
        done = tags.apply(tagged, file, str(tmp_path / "done"))
        table = done.table("train", ["image_id", "tags"]).to_pylist()
        row = next(one for one in table if one["image_id"] == said[0]["image_id"])
        assert {e["accepted"] for e in row["tags"] if e["name"] == name} == {False}

    def test_many_are_decided_at_once(self, fresh):
        fresh.key("s")
        ask(fresh, "[...root.querySelectorAll('.tile')].slice(0, 3).forEach(tile => tile.click())")
        assert ask(fresh, "return root.querySelector('.acts b').textContent") == "3 pictures"
        ask(fresh, "root.querySelector('.acts input').value = 'holiday'; root.querySelector('.acts .yes').click()")
        said = fresh.run("gallery.corrections()")
        assert [(one["kind"], one["name"], one["accepted"]) for one in said] == [("tag", "holiday", True)] * 3

    @pytest.mark.parametrize("width", [390, 768, 1280])
    def test_nothing_is_wider_than_the_screen(self, fresh, width):
        fresh.resize(width, 844)
        fresh.run("new Promise(done => setTimeout(done, 200))")
        assert fresh.run("document.documentElement.scrollWidth") <= width
        assert (
            ask(
                fresh,
                "return Math.max(...[...root.querySelectorAll('.tile')].map(t => t.getBoundingClientRect().right))",
            )
            <= width
        )
        ask(fresh, "gallery.open(1)")
        assert ask(fresh, "return root.querySelector('.side').getBoundingClientRect().right") <= width

    def test_the_map_picks_the_picture_under_the_pointer(self, fresh):
        fresh.run("gallery.view(true)")
        assert ask(fresh, "return getComputedStyle(root.querySelector('canvas')).display") == "block"
        assert fresh.problems == []

    def test_dark_is_dark(self, fresh):
        paper = "return getComputedStyle(root.querySelector('.app')).backgroundColor"
        light = ask(fresh, paper)
        fresh.emulate(dark=True)
        assert ask(fresh, paper) != light


AXE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imgprep-ci/node_modules/axe-core/axe.min.js"
VIOLATIONS = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(one =>
    `${one.id}, ${one.impact}: ${one.nodes[0].html.slice(0, 160)} ${one.nodes[0].failureSummary.slice(0, 200)}`))"""
STATES = {
    "grid": "1",
    "detail": "gallery.open(2)",
    "map": "gallery.view(true)",
    "selection": "gallery.root.querySelectorAll('.quiet')[1].click(); gallery.root.querySelector('.tile').click()",
    "chosen": "gallery.choose(0)",
    "nothing": "gallery.query.value = 'zxqv'; gallery.search()",
    "suggestions": "gallery.query.value = 'az'; gallery.query.oninput()",
}


@pytest.mark.browser
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_to_object_to(fresh, state):
    if not AXE.is_file():
        missing("axe-core: npm install --prefix ~/.cache/imgprep-ci --no-save axe-core")
    fresh.run(f"{AXE.read_text('utf-8')};1")
    fresh.run(f"{{ {STATES[state]} }}; 1")
    for width, is_dark in ((1280, False), (1280, True), (390, True), (390, False)):
        fresh.resize(width, 844)
        fresh.emulate(dark=is_dark)
        fresh.run("new Promise(done => setTimeout(done, 150))")
        assert fresh.run(VIOLATIONS) == [], f"{width} pixels, dark: {is_dark}"
