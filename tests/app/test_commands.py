"""The commands beside `run`: each helps, has the options that its messages name, and ends as it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made import folder, picture, table
from PIL import Image

import imgprep
from imgprep import dataset
from imgprep.app.cli import main, parser
from imgprep.app.dedup import look_alikes
from imgprep.stages import images


@pytest.fixture
def made(project):
    """data/raw: five pictures, the fourth with the bytes of the first, the fifth smaller than the second."""
    paths = [Path(p) for p in folder(project.root / "in", 3)]
    for n in range(3):
        Image.fromarray(large(n)).save(paths[n])
    paths += [project.root / "in/copy.png", project.root / "in/small.png"]
    paths[3].write_bytes(paths[0].read_bytes())
    Image.fromarray(large(1)).resize((90, 66)).save(paths[4])
    with imgprep.session("local", workers=0):
        images.download({"train": table(list(map(str, paths)))}, "data/raw")
    return project.root


def large(n: int) -> np.ndarray:
    small = np.random.default_rng(n).integers(0, 255, (5, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((180, 132), Image.Resampling.BICUBIC))


def test_lab_helps_instead_of_handing_the_question_on(project, capsys):
    assert main(["lab", "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: imgprep lab") and "--no-browser" in said
    assert not (project.root / "notebooks").exists()


def test_publish_has_every_option_of_the_verb_and_both_spellings():
    words = ["publish", "f", "me/x", "--license", "mit", "--drop-columns", "a", "b", "--allow-gps", "--public",
             "--include-placeholders", "--token-env", "MINE", "--class-column", "c", "--tag", "v1"]  # fmt: skip
    given = vars(parser().parse_args(words))
    assert given["licence"] == "mit" and given["drop_columns"] == ["a", "b"]
    assert given["allow_gps"] and given["public"] and given["include_placeholders"]
    assert (given["token_env"], given["class_column"], given["tag"]) == ("MINE", "c", "v1")
    assert parser().parse_args(["publish", "f", "--licence", "mit"]).licence == "mit"


def test_a_dry_run_of_publish_that_is_refused_exits_with_2(made, capsys):
    assert main(["publish", "data/raw"]) == 2
    assert "not to be published: nobody said under which licence" in capsys.readouterr().out
    assert main(["publish", "data/raw", "--license", "cc0-1.0"]) == 0


def test_report_shows_dataset_folders(made, capsys):
    assert main(["report", "data/raw", "--out", "page.html", "--title", "My photos"]) == 0
    assert capsys.readouterr().out == "report   page.html\n"
    page = Path("page.html").read_text()
    assert "My photos" in page and "imgprep report data/raw" in page
    assert main(["report", "data/nothing"]) == 2


def test_dedup_names_what_looks_alike_and_writes_the_rest(made, capsys):
    groups = look_alikes(dataset.open("data/raw"))
    assert [[place.row for place in group] for group in groups] == [[0, 3], [1, 4]]
    assert main(["dedup", "data/raw", "--out", "data/once"]) == 0
    said = capsys.readouterr().out
    assert "2 rows look like an earlier one, in 2 groups\n" in said and said.endswith("dataset  data/once\n")
    assert dataset.open("data/once").counts()["ok"] == 3
    assert main(["dedup", "data/once"]) == 0
    assert "0 rows look like an earlier one" in capsys.readouterr().out


def test_flat_pictures_are_alike_only_where_their_bytes_are(project):
    paths = []
    for n, grey in enumerate((10, 10, 200)):
        paths.append(str(project.root / f"{n}.png"))
        Image.fromarray(np.full((20, 20, 3), grey, np.uint8)).save(paths[-1])
    with imgprep.session("local", workers=0):
        out = images.download({"train": table(paths)}, "data/flat")
    assert [[place.row for place in group] for group in look_alikes(out)] == [[0, 1]]


def test_a_wrong_distance_is_one_sentence(made, capsys):
    assert main(["dedup", "data/raw", "--distance", "40"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("imgprep: max_distance must be from 0 to 12 bits")


def test_a_file_without_rights_is_one_sentence(project, monkeypatch, capsys):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/somewhere/data")

    monkeypatch.setattr("imgprep.app.inventory.listing", refuse)
    assert main(["ls"]) == 1
    said = "imgprep: no permission for /somewhere/data: change its rights, or name another place\n"
    assert capsys.readouterr().err == said


SCRIPT = """
import time, imgprep
from imgprep import images
def slow(image):
    time.sleep(0.1)
    return image
if __name__ == "__main__":
    imgprep.session("local", workers=2)
    images.transform("in", "out", slow)
"""


@pytest.mark.slow
def test_ctrl_c_leaves_no_traceback_of_the_pool_and_no_semaphores(project):
    import signal

    folder(project.root / "in", 60)
    (project.root / "job.py").write_text(SCRIPT)
    job = subprocess.Popen([sys.executable, "job.py"], start_new_session=True, stderr=subprocess.PIPE, text=True)
    from test_stage import wait_for

    wait_for(lambda: list(project.root.glob("out/.imgprep/parts/*")), 90)
    os.killpg(job.pid, signal.SIGINT)
    said = job.communicate(timeout=60)[1]
    # One, of the script itself, which ends with a sentence: nothing of the pool's processes.
    last = said.splitlines()[-1]
    assert job.returncode == 1 and said.count("Traceback") == 1, said
    assert re.fullmatch(r".*Interrupted: \d+ of 60 rows done and kept: run it again to go on", last)
    assert "leaked" not in said and "resource_tracker" not in said and "loky" not in said
    assert picture(0).ndim == 3
