"""One rule for secrets: whatever a table, a name or an error holds, no output shows it.

A dataset is made of all the forms in every place where a stranger's text can stand; each output of
it is then read byte by byte.
"""

import csv
import gzip
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from secret_forms import FORMS, MARKS, URLS
from vision_server import VisionServer

import imgprep
from imgprep.app import cli, dedup
from imgprep.display import gallery, report
from imgprep.picture import codec
from imgprep.resume import shape
from imgprep.rows import annotations, labels, sources
from imgprep.stages import (
    batch_requests,
    exports,
    film,
    images,
    publish,
    search,
    tags,
    upload,
    variants,
)
from imgprep.stages.search.tables import to_sqlite


def shown_in(path: Path) -> list[str]:
    """The secrets in a file, in any of the ways that files hold text."""
    data = path.read_bytes()
    texts = [data]
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
        texts.append(repr(table.to_pylist()).encode())
        texts.append(repr(table.schema.metadata).encode())
    if path.suffix == ".gz":
        texts.append(gzip.decompress(data))
    for packed in re.findall(rb"[A-Za-z0-9+/]{400,}={0,2}", data):
        texts.append(unpacked(packed))
    return [mark for mark in MARKS if any(mark.encode() in text for text in texts)]


def unpacked(packed: bytes) -> bytes:
    import base64

    try:
        raw = base64.b64decode(packed + b"=" * (-len(packed) % 4))
        return zlib.decompress(raw, wbits=47)
    except (ValueError, zlib.error):
        return b""


def clean(folder: Path | str) -> None:
    """Every file at or below a place holds none of them."""
    place = Path(folder)
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    assert files
    leaks = {str(path): found for path in files if (found := shown_in(path))}
    assert not leaks


def speak(image, caption):
    """Tags, and for every third picture an error, that repeat what a table says."""
    if image[0, 0, 0] % 3 == 2:
        raise ValueError(f"no idea of {caption}")
    tag = {"kind": "seen", "name": caption[:200], "score": 0.5, "source": "test", "version": "1"}
    return {"words": caption, "found": [{"where": caption}], "told": tag["name"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Datasets with all the forms: as text, as links, as sources, as errors, as tags."""
    home = tmp_path_factory.mktemp("secrets")
    (home / "in").mkdir()
    paths = []
    for n, _ in enumerate(FORMS):
        paths.append(str(home / "in" / f"{n:03}.png"))
        image = np.full((8, 8, 3), n, np.uint8)
        Path(paths[-1]).write_bytes(codec.encode(image))
    links = [FORMS[n] if n < len(URLS) else f"https://example.org/{n}" for n in range(len(FORMS))]
    rows = {
        "image_id": [f"r{n:03}" for n in range(len(FORMS))],
        "caption": FORMS,
        "link": links,
        "more": [{"deep": [form]} for form in FORMS],
        "source": paths,
    }
    features = {"words": "string", "told": "string", "found": [{"where": _text()}]}
    with imgprep.session("local", workers=0):
        told = {"features": features, "max_failed": 1.0}
        found = images.transform({"train": pa.table(rows)}, str(home / "told"), speak, **told)
        tagged = tags.find({"train": pa.table(rows)}, str(home / "tagged"), taggers=[named])
    return home, found, tagged


def pictures_of(home: Path) -> pa.Table:
    """A picture for each form, of names that tell nothing."""
    home.mkdir()
    paths = []
    for n, _ in enumerate(FORMS):
        paths.append(str(home / f"{n:03}.png"))
        Path(paths[-1]).write_bytes(codec.encode(np.full((8, 8, 3), n, np.uint8)))
    names = [Path(path).name for path in paths]
    return pa.table({"image_id": names, "file_name": names, "source": paths})


def _text():
    from datasets import Value

    return Value("string")


def named(image):
    """A tagger that has read what it should not."""
    text = FORMS[image[0, 0, 0]]
    return [{"kind": "seen", "name": text[:200], "score": 0.7, "evidence": {"read": text}}]


def test_the_dataset_its_card_manifest_and_logs(made):
    home, found, _ = made
    assert found.counts()["failed"] > 15 and found.counts()["ok"] > 30
    clean(home / "told")


def test_tags(made):
    home, _, tagged = made
    assert tagged.counts()["ok"] == len(FORMS)
    clean(home / "tagged")


def test_the_report(made, tmp_path):
    _, found, tagged = made
    parameters = {"source": FORMS[8], "words": list(FORMS), "api_key": "Hu5hHu5hHu5h", "deep": {"a": FORMS[0]}}
    told = {"title": FORMS[8], "parameters": parameters, "command": f"run -p x={FORMS[8]}"}
    report.write(tmp_path / "a.html", [found, tagged], **told)
    clean(tmp_path)


def test_the_gallery(made, tmp_path):
    _, found, tagged = made
    gallery.write_gallery(tmp_path / "a.html", tagged, title=FORMS[8], words=False)
    gallery.write_gallery(tmp_path / "b.html", found, words=False)
    clean(tmp_path)


def test_the_index(made, tmp_path):
    _, _, tagged = made
    index = search.build(tagged, folder=str(tmp_path / "index"))
    clean(tmp_path)
    said = [repr(index), repr(index.search("hush token")), repr(index.search(FORMS[8]))]
    assert not [mark for mark in MARKS if any(mark in text for text in said)]


def test_exported_databases(made, tmp_path):
    _, _, tagged = made
    to_sqlite(tagged, tmp_path / "a.db")
    clean(tmp_path)


def test_labelled_tables(made, tmp_path):
    home, _, _ = made
    rows = [[f"{home}/in/{n:03}.png", form, URLS[n % len(URLS)] + f"&n={n}"] for n, form in enumerate(FORMS)]
    with open(tmp_path / "in.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "caption", "link"], *rows])
    read = {"url_column": "path", "id_column": "link", "root": home}
    with imgprep.session("local", workers=0):
        ds = images.download(sources.read({"train": tmp_path / "in.csv"}, **read), str(tmp_path / "made"))
    assert ds.counts()["ok"] == len(FORMS)
    clean(tmp_path / "made")
    clean(labels.write_csv(ds, "train", tmp_path / "in.csv", str(tmp_path / "labelled.csv")))


def test_sizes_and_places(made, tmp_path):
    _, found, _ = made
    with imgprep.session("local", workers=0):
        sized = variants.build(found, str(tmp_path / "sizes"), thumbnail_side=8, max_failed=1.0)
        upload.upload(sized, str(tmp_path / "store"), str(tmp_path / "up"), max_failed=1.0)
    clean(tmp_path)


def test_request_files(made, tmp_path):
    _, found, _ = made
    given = {"model": "m", "prompt": f"see {FORMS[8]}", "variant": "any"}
    batch_requests.write(found, str(tmp_path / "asked"), **given)
    lines = (tmp_path / "asked/requests-00001.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["custom_id"] == "train/r000"
    clean(tmp_path)


@pytest.mark.parametrize("form", exports.FORMS)
def test_exports(made, tmp_path, form):
    _, found, _ = made
    exports.export(found, str(tmp_path / form), form)
    clean(tmp_path)


@pytest.mark.parametrize("form", annotations.ANNOTATION_FORMS)
def test_annotations(tmp_path, form):
    """Labels that a detector read off a picture, and pictures that came from links."""
    number = iter(FORMS)

    def seen(image):
        return {"objects": [{"label": next(number)[:200], "box_xywh": [1, 1, 4, 4]}]}

    rows = {"train": pictures_of(tmp_path / "in")}
    features = annotations.object_features()
    with imgprep.session("local", workers=0):
        found = images.transform(rows, str(tmp_path / "out"), seen, features=features)
    clean(tmp_path / "out")
    assert found.counts()["ok"] == len(FORMS)
    out = tmp_path / "written"
    annotations.write(found.table("train"), str(out / ("all.json" if form == "coco" else "")), form=form)
    clean(out)


@pytest.mark.parametrize(("verb", "more"), [(film.extract_frames, {"every_s": 1}), (film.transcode, {})])
def test_films_that_cannot_be_had(tmp_path, verb, more):
    # Nobody is asked but this machine, where nobody listens.
    forms = [form for form in URLS if form.startswith("https://")]
    dead = [re.sub(r"^https://([^@/]*@)?[^/]+", r"http://\g<1>127.0.0.1:1", form) for form in forms]
    assert len(dead) > 20
    rows = pa.table({"image_id": [str(n) for n, _ in enumerate(dead)], "source": dead})
    with imgprep.session("local", workers=0):
        found = verb({"train": rows}, str(tmp_path / "out"), max_failed=1.0, **more)
    assert found.counts()["failed"] == len(dead)
    clean(tmp_path / "out")


def test_publishing_refuses_what_another_program_left_in_a_dataset(tmp_path, monkeypatch):
    """The same rule asks what redaction hides: each form is one that is found."""
    monkeypatch.setattr(shape, "redact_column", lambda column: column)
    picture = codec.encode(np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "in.png").write_bytes(picture)
    columns = {f"c{n:03}": [form] for n, form in enumerate(FORMS)}
    rows = pa.table({"image_id": ["r0"], **columns, "source": [str(tmp_path / "in.png")]})
    with imgprep.session("local", workers=0):
        images.download({"train": rows}, str(tmp_path / "out"))
    plan = publish.publish(str(tmp_path / "out"), licence="mit")
    named = {name for name in columns if any(f"'{name}' holds " in line for line in plan.problems)}
    assert named == {*columns}
    assert not [mark for mark in MARKS if mark in repr(plan) + " ".join(plan.problems)]


def test_lists_and_differences(made, tmp_path, capsys):
    home, found, _ = made
    fewer = {"train": found.table("train").slice(0, 20)}
    with imgprep.session("local", workers=0):
        other = images.copy(found, fewer, str(tmp_path / "fewer"))
    for words in (["ls", str(home)], ["diff", str(home / "told"), other.folder], ["check", str(home)]):
        assert cli.main(words) in (0, 1)
    dedup.say_groups(dedup.look_alikes(found))
    said = capsys.readouterr().out
    assert "r020" in said and "whole, " in said
    assert not [mark for mark in MARKS if mark in said]


def test_what_is_printed(made, capsys):
    _, found, tagged = made
    for ds in (found, tagged):
        print(ds, ds._repr_html_())
    for cell in (imgprep.show.sheet(found, n=60), imgprep.show.failures(found), imgprep.show.rows(found)):
        print(repr(cell), cell._repr_html_())
    said = capsys.readouterr().out
    assert not [mark for mark in MARKS if mark in said]


def test_executed_notebooks(tmp_path):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    from imgprep.app.kernel import redact_notebook

    cells = []
    for form in FORMS:
        given = new_code_cell(f"source = {form!r}", metadata={"tags": ["injected-parameters"]})
        html = {"text/html": f"<td>{form}</td>", "text/plain": form, "application/json": {"a": [form]}}
        shown = new_output("display_data", html)
        stream = new_output("stream", text=f"read {form}\n")
        error = new_output("error", ename="ValueError", evalue=form, traceback=[f"\x1b[31m{form}\x1b[0m"])
        given.outputs = [shown, stream, error]
        cells.append(given)
    about = {"papermill": {"parameters": {"source": FORMS[0], "words": FORMS, "exception": FORMS[1]}}}
    nbformat.write(new_notebook(cells=cells, metadata=about), tmp_path / "a.ipynb")
    assert shown_in(tmp_path / "a.ipynb")
    redact_notebook(tmp_path / "a.ipynb")
    clean(tmp_path / "a.ipynb")
    assert len(nbformat.read(tmp_path / "a.ipynb", 4).cells) == len(FORMS)


class Repeating(VisionServer):
    """A model that repeats what stands in a picture, or what it was asked with."""

    def handle(self, path, headers, body):
        form = FORMS[self.asked % len(FORMS)]
        self.asked += 1
        if self.asked % 3:
            return 200, {"choices": [{"message": {"refusal": form}}], "usage": {}}, {}
        if self.asked % 2:
            return 400, {"error": {"code": "content_filter", "message": form}}, {}
        words = {"choices": [{"message": {"content": json.dumps({"mood": [form]})}}], "usage": {}}
        return 200, words, {}


def test_what_a_vision_model_says_and_what_is_kept_of_it(tmp_path, monkeypatch):
    pictures = [codec.encode(np.full((8, 8, 3), n, np.uint8)) for n in range(len(FORMS))]
    prompt = tags.Prompt({"mood": ["calm"]})
    with Repeating() as url:
        kept = {"key_env": None, "cache": tmp_path / "answers.db", "at_once": 1, "attempts": 1}
        said = tags.Vision(url, "m", **kept).ask(prompt, pictures)
    assert len(said) == len(FORMS) and {one.reason for one in said} >= {"declined", "no_json"}
    assert not [mark for mark in MARKS if mark in repr(said)]
    clean(tmp_path)
