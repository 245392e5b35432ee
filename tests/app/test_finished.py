"""A finished pipeline needs no kernel to know that; whatever changed, or is not certain, runs."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from made import folder, table
from made import picture as made_picture

import imgprep
from imgprep.app import finished, pipeline, runner
from imgprep.app.runner import RunResult
from imgprep.stages import images

NAME = "products"


@pytest.fixture
def made(project, monkeypatch):
    """A project whose pipeline `products` has run, without a kernel: what a run leaves, and its plan."""
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    for name in ("notebooks", "pipelines"):
        shutil.copytree(ROOT / name, project.root / name)
    paths = folder(project.root / "in", 4)
    (project.root / "train.csv").write_text("image_link\n" + "\n".join(map(str, paths)) + "\n")
    with imgprep.session("local", workers=0):
        images.download({"train": table(paths)}, str(project.root / "data/products/raw"))
        images.transform("data/products/raw", "data/products/ocr", half)
    (project.root / "data/products/train_labeled.csv").write_text("x\n")
    given = {"train_csv": "train.csv", "test_csv": "train.csv"}
    plan = pipeline.load_pipeline(NAME, given)
    run = project.root / "reports" / NAME / f"20261128T000000Z-{finished.digest_of(plan)}"
    run.mkdir(parents=True)
    (run / "report.html").write_text("report")
    finished.write_finished(plan, run, finished.stamps(plan), ["4 of 4"], [str(run / "report.html")])
    monkeypatch.setattr(runner, "_run_steps", lambda *_: pytest.fail("a kernel would start"))
    return project.root, given


def half(image):
    return image // 2


def is_finished(given: dict) -> bool:
    plan = pipeline.load_pipeline(NAME, given)
    return finished.find_finished(plan, Path("reports", NAME).absolute()) is not None


def test_what_is_finished_is_said_and_shown_without_a_kernel(made, capsys):
    root, given = made
    before = sorted(root.rglob("*"))
    result = runner.run_notebooks(NAME, given)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("products: nothing to compute since reports/products/20261128T000000Z-")
    assert rest == ["4 of 4"] and result.report.read_text() == "report"
    assert sorted(root.rglob("*")) == before


def test_so_does_a_dry_run(made):
    said = runner.dry_run(NAME, made[1])
    assert said == [
        "download: 4 rows, nothing to compute",
        "ocr, as things are now: 4 rows, nothing to compute",
    ]


@pytest.fixture
def with_failures(made):
    """The same, with a row that stays (raw), whose picture is missing in ocr too, and one that fails there."""
    root, given = made
    shutil.rmtree(root / "data")
    paths = folder(root / "in", 4)
    Path(paths[1]).unlink()
    with imgprep.session("local", workers=0):
        images.download({"train": table(paths)}, str(root / "data/products/raw"), max_failed=1.0)
        images.transform("data/products/raw", "data/products/ocr", not_the_third, max_failed=1.0)
    plan = pipeline.load_pipeline(NAME, given)
    (run,) = root.glob("reports/products/*")
    finished.write_finished(plan, run, finished.stamps(plan), runner._step_results(plan, RunResult(run, None)), [])
    return root, given


def not_the_third(image):
    if image[0, 0, 0] == made_picture(2)[0, 0, 0]:
        raise ValueError("not this one")
    return image


def test_what_stays_is_said_by_a_finished_run_and_by_its_dry_run(with_failures, capsys):
    download, ocr = runner.dry_run(NAME, with_failures[1])
    again = "retry_failed=True tries it again, in a pipeline -p retry_failed=true"
    stays = "1 failure of an earlier run stays"
    assert download == f"download: 4 rows, nothing to compute; {stays} (missing_file 1): {again}"
    assert ocr == f"ocr, as things are now: 4 rows, nothing to compute; {stays} (error 1): {again}"
    runner.run_notebooks(NAME, with_failures[1])
    said = "2 failures stay (error 1, missing_file 1): -p retry_failed=true tries them again"
    assert said in capsys.readouterr().out.splitlines()


def rewrite(path: Path, text: str) -> None:
    """Other text of the same length, at another time."""
    path.write_text(text)
    os.utime(path, ns=(1, 1))


CHANGES = {
    "the table": lambda root: (root / "train.csv").write_text("image_link\n"),
    "the table, in place": lambda root: rewrite(root / "train.csv", (root / "train.csv").read_text()),
    "a picture": lambda root: (root / "in/0001.png").write_bytes(b"new"),
    "a picture that came": lambda root: (root / "in/new.png").write_bytes(b"new"),
    "a picture that went": lambda root: (root / "in/0001.png").unlink(),
    "a file of the dataset": lambda root: next((root / "data/products/ocr/data").iterdir()).unlink(),
    "a labelled table": lambda root: (root / "data/products/train_labeled.csv").unlink(),
    "the card": lambda root: (root / "data/products/raw/README.md").write_text("mine"),
    "all of the data": lambda root: shutil.rmtree(root / "data"),
    "the report": lambda root: next(root.glob("reports/products/*/report.html")).unlink(),
    "the record": lambda root: next(root.glob("reports/products/*/finished.json")).write_text("[1"),
    "the record, of another kind": lambda root: next(root.glob("reports/*/*/finished.json")).write_text("[]"),
    "a newer run that stopped": lambda root: newer(root),
}


def newer(root: Path) -> None:
    (old,) = root.glob("reports/products/*")
    (root / "reports/products" / old.name.replace("20261128", "20261129")).mkdir()


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_runs_again(made, what):
    root, given = made
    assert is_finished(given)
    CHANGES[what](root)
    assert not is_finished(given)


def test_a_notebook_that_was_edited_runs(made):
    root, given = made
    notebook = root / "notebooks/02_ocr.ipynb"
    notebook.write_text(notebook.read_text().replace("Then all of them", "Then all"))
    assert not is_finished(given)


def test_other_parameters_run(made):
    assert not is_finished({**made[1], "size_wh": "[64,64]"})


@pytest.mark.parametrize("more", [
    {"retry_failed": "true"},
    {"out": "s3://bucket/data"},
    {"train_csv": "some/dataset"},
    {"repo_id": "you/products"},
])  # fmt: skip
def test_what_this_disk_cannot_tell_is_never_certain(made, more):
    assert not finished.is_certain(pipeline.load_pipeline(NAME, {**made[1], **more}))


def test_the_code_of_the_package_counts(made, monkeypatch, tmp_path_factory):
    copy = tmp_path_factory.mktemp("package")
    (copy / "__init__.py").write_text("")
    monkeypatch.setattr(finished.imgprep, "__file__", str(copy / "__init__.py"))
    assert not is_finished(made[1])


def test_a_pipeline_of_own_notebooks_is_never_certain(project):
    project.notebook("own", "out: str = 'o'", "open('anything').read()")
    project.pipeline("own", "steps: [{name: own, notebook: notebooks/own.ipynb}]")
    assert not finished.is_certain(pipeline.load_pipeline("own"))


def test_again_runs_all_the_same(made):
    with pytest.raises(pytest.fail.Exception, match="a kernel would start"):
        runner.run_notebooks(NAME, made[1], again=True)


def test_a_record_holds_no_picture_and_no_secret(made):
    (record,) = made[0].glob("reports/products/*/finished.json")
    assert set(json.loads(record.read_text())) == {"code", "inputs", "outputs", "shown", "lines", "sentences"}


def test_what_the_stage_would_try_again_is_not_finished(project, capsys):
    """Guards the two against drifting apart: whatever `download` retries, the runner must not skip."""
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    for name in ("notebooks", "pipelines"):
        shutil.copytree(ROOT / name, project.root / name)
    paths = [*map(str, folder(project.root / "in", 3)), "http://127.0.0.1:9/refused.png"]
    (project.root / "train.csv").write_text("image_link\n" + "\n".join(paths) + "\n")
    options = {"allow_hosts": ["127.0.0.1"], "attempts": 1}
    with imgprep.session("local", workers=0):
        images.download({"train": table(paths)}, str(project.root / "data/products/raw"), **options)
        capsys.readouterr()
        images.download({"train": table(paths)}, "data/products/raw", dry_run=True, **options)
        says_nothing = "nothing to compute" in capsys.readouterr().out
        images.transform("data/products/raw", str(project.root / "data/products/ocr"), half)
    plan = pipeline.load_pipeline(NAME, {"train_csv": "train.csv", "test_csv": "train.csv"})
    run = project.root / "reports" / NAME / f"20261128T000000Z-{finished.digest_of(plan)}"
    run.mkdir(parents=True)
    finished.write_finished(plan, run, finished.stamps(plan), [], [])
    assert is_finished({"train_csv": "train.csv", "test_csv": "train.csv"}) is says_nothing
