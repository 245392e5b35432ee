"""A file without rights and a name that is not UTF-8, from end to end: each is its row's reason.

All of it runs without the right of root to read everything.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT
from made import folder

CHILD = """
import csv, json, os, sys
import numpy as np
import pyarrow as pa
import imgprep
from imgprep import dataset, exports
from imgprep.display import report
from imgprep.rows import labels, sources
from imgprep.stages import images, segmentation, upload, variants

home = sys.argv[1]
given = f"{home}/in"
told = {}

def said(ds):
    table = ds.table("train")
    names = table["file_name" if "file_name" in table.column_names else "source"].to_pylist()
    rows = zip(names, table["reason"].to_pylist(), table["error"].to_pylist())
    return {"counts": ds.counts(), "rows": sorted({(n.rpartition("/")[2], r, e) for n, r, e in rows})}

def flip(image):
    return np.ascontiguousarray(image[:, ::-1])

for workers in (0, 2):
    imgprep.session("local", workers)
    raw = images.download(sources.read(given), f"{home}/raw{workers}")
    told[f"download {workers}"] = said(raw)
    told[f"transform {workers}"] = said(images.transform(given, f"{home}/flipped{workers}", flip))
    imgprep.close()
imgprep.session("local", 2)
sizes = variants.build(given, f"{home}/sizes", thumbnail_side=8)
told["variants"] = said(sizes)
masks = segmentation.segment(given, f"{home}/masks", "128")
told["segment"] = said(masks)
told["upload"] = said(upload.upload(given, f"{home}/store", f"{home}/up"))
imgprep.close()
labelled = labels.write_csv(raw, "train", given, f"{home}/labelled.csv")
lines = csv.DictReader(open(labelled, encoding="utf-8"))
told["labelled"] = {line["file_name"]: line["reason"] for line in lines}
exports.export(raw, f"{home}/export", "imagefolder")
told["export"] = len([f for _, _, files in os.walk(f"{home}/export") for f in files if f.endswith(".png")])
page = report.write(f"{home}/report.html", [raw, sizes, masks], title="Awkward")
told["report"] = open(f"{home}/report.html", encoding="utf-8").read()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    """What the child says of four pictures: one without rights, one with a Latin-1 name."""
    if os.getuid():
        pytest.skip("needs root, to give up rights")
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv here")
    home = tempfile.mkdtemp(prefix="imgprep-awkward-")
    try:
        paths = folder(Path(home, "in"), 4)
        os.chmod(paths[1], 0)
        os.rename(os.fsencode(paths[2]), os.path.join(os.fsencode(f"{home}/in"), b"caf\xe9.png"))
        yield _told_by_child(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _told_by_child(home: str) -> dict:
    """What a root without the right to read everything finds, as any other user would."""
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    words += [sys.executable, "-c", CHILD, home]
    env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": home, "TMPDIR": home}
    done = subprocess.run(words, env=env, cwd="/", capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


VERBS = [*(f"{verb} {n}" for verb in ("download", "transform") for n in (0, 2)), "upload"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", [*VERBS, "segment", "variants"])
def test_each_file_has_its_own_outcome_and_the_run_ends_well(told, verb):
    found = told[verb]
    reasons = {name: reason for name, reason, _ in found["rows"]}
    assert reasons == {"0000.png": "", "0001.png": "no_permission", "0003.png": "", "caf\\xe9.png": ""}
    assert found["counts"]["reasons"] == {"no_permission": 1}
    (error,) = [error for _, _, error in found["rows"] if error]
    assert "ermission" in error or "may not be read" in error


@pytest.mark.slow
def test_tables_exports_and_the_report_hold_them(told):
    named = {"0000.png": "", "0001.png": "no_permission", "0003.png": "", "caf\\xe9.png": ""}
    assert told["labelled"] == named
    assert told["export"] == 3, "only what is ok"
    assert "no_permission" in told["report"]
