"""What is gone, or stands elsewhere, answers for one release, with a sentence."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import imgprep
from imgprep.former import INSTEAD, MOVED

# The modules of the package before it had folders that are neither a folder nor a file of it today.
FORMER = """addresses answers augment batch_requests blending budget card checks cli codec colour components container
enhance entities exports facts fetch findings fingerprint folder gather geometry hub images instances inventory labels
loaded location measures metadata mosaic nets ocr operators optout overlays packshot pairs parameters parts passes
pictures pipeline politeness polygons progress publish rasters reasons report routes runner sample_server segmentation
shards show similar slides sources specimen splits stage store tables thumbnails tiling transfer upload uris variants
work""".split()


def test_croissant_says_who_writes_it_now():
    says = "there is no imgprep.croissant any more: the Hub writes the Croissant metadata"
    with pytest.raises(ImportError, match=says):
        from imgprep import croissant  # noqa: F401
    with pytest.raises(ImportError, match=says):
        import imgprep.croissant  # noqa: F401


@pytest.mark.parametrize("name", FORMER)
def test_a_module_of_old_is_the_one_of_today_and_says_its_name(name, monkeypatch):
    place = imgprep.CONTENTS.get(name) or MOVED[name]
    monkeypatch.delitem(sys.modules, f"imgprep.{name}", raising=False)
    monkeypatch.delitem(vars(imgprep), name, raising=False)
    with pytest.warns(FutureWarning) as told:
        found = importlib.import_module(f"imgprep.{name}")
    today = importlib.import_module(f"imgprep.{place}")
    assert found is today and today.__name__ == today.__spec__.name == f"imgprep.{place}"
    assert any(INSTEAD.get(name, place) in str(w.message) or f"import {name}`" in str(w.message) for w in told)


def test_a_function_of_a_module_of_old_is_imported_with_a_sentence_at_the_users_line():
    code = "from imgprep.publish import publish\nimport imgprep.ocr\nprint(publish.__module__, imgprep.ocr.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["imgprep.stages.publish.publish", "imgprep.picture.ocr"]
    assert "<string>:1: FutureWarning: imgprep.publish is no module any more: write `from imgprep import publish`" in (
        done.stderr
    )
    assert "<string>:2: FutureWarning: imgprep.ocr is no module any more" in done.stderr


@pytest.mark.parametrize("name", INSTEAD)
def test_a_name_that_is_no_longer_promised_says_what_to_call(name, monkeypatch):
    monkeypatch.delitem(vars(imgprep), name, raising=False)
    with pytest.warns(FutureWarning, match=f"imgprep.{name} is no public name: {INSTEAD[name]}"):
        found = getattr(imgprep, name)
    instead = INSTEAD[name].rpartition(" ")[2]
    if instead.startswith("imgprep."):
        parts = instead.split(".")[1:]
        value = imgprep
        for part in parts:
            value = getattr(value, part)
        assert callable(value) or value is found


def test_what_never_was_is_said_as_usual():
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        from imgprep import nonsense  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="imgprep.nonsense"):
        import imgprep.nonsense  # noqa: F401


def test_the_stub_promises_what_can_be_imported_and_nothing_else():
    stub = ast.parse(Path(imgprep.__file__).with_suffix(".pyi").read_text("utf-8"))
    promised = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    lazy = {*imgprep.CONTENTS, *imgprep.FUNCTIONS}
    assert promised == lazy | set(imgprep.__all__) - {"__version__"}
    assert [name for name in sorted(promised) if not hasattr(imgprep, name)] == []


def test_a_notebook_imports_only_what_is_promised():
    import json

    promised = {*imgprep.CONTENTS, *imgprep.FUNCTIONS, *imgprep.__all__}
    used = set()
    for file in sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb")):
        for cell in json.loads(file.read_text("utf-8"))["cells"]:
            for line in "".join(cell["source"]).splitlines():
                if line.startswith("from imgprep import "):
                    used.update(name.strip() for name in line.removeprefix("from imgprep import ").split(","))
    assert used <= promised
    assert {"images", "ocr", "serve"} <= used
