"""In a checkout an edited operator computes anew; and no operator changes without its version."""

import functools
import inspect
import shutil
import subprocess
import sys
import types

import pytest
from conftest import ROOT

from imgprep.picture import augment, codec, enhance, tone
from imgprep.resume import pins
from imgprep.stages.variants import variants
from imgprep.tiles import windows

KEY = "from imgprep import ocr, enhance; from imgprep.resume import fingerprint; print(fingerprint.function({}))"


@pytest.mark.parametrize("name", pins.pinned())
def test_an_operator_that_changed_has_a_new_version(name):
    operator, pin = pins.operator_named(name), pins.pinned()[name]
    told = "raise its `version` where pixels differ; then run `python .ci/pins.py`"
    assert pins.code_of(operator) == pin["code"], f"the code of {name} is not that of version {pin['version']}: {told}"


def key(folder, function="ocr.prepare") -> str:
    run = [sys.executable, "-c", KEY.format(function)]
    done = subprocess.run(run, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path):
    shutil.copytree(ROOT / "imgprep", tmp_path / "imgprep", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def edit(clone, module: str, old: str, new: str) -> None:
    file = clone / "imgprep" / "picture" / f"{module}.py"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def test_an_edited_helper_of_an_operator_computes_anew_in_a_checkout_only(clone):
    before = key(clone), key(clone, "enhance.denoise")
    edit(clone, "geometry", "def shrink(", "SIDE = 1\n\n\ndef shrink(")  # nobody's
    edit(clone, "geometry", '"""', '"""Edited. ')  # a docstring
    assert (key(clone), key(clone, "enhance.denoise")) == before
    edit(clone, "geometry", "def fit_pad(", "def fit_pad(*args, **options):\n    return 1\n\n\ndef _fit_pad(")
    after = key(clone), key(clone, "enhance.denoise")
    assert after[0] != before[0] and after[1] == before[1]
    (clone / "pyproject.toml").unlink()  # as where a wheel is unpacked
    assert key(clone) == before[0]


def test_an_operator_of_a_new_module_is_named_by_its_place():
    """A key says the same of it, and nobody has to enter the module anywhere."""
    assert pins.operator_named("imgprep.picture.tone.tone_tags") is tone.tone_tags
    assert pins.operator_named("imgprep.enhance.grey") is enhance.grey
    with pytest.raises(ValueError, match="no operator 'imgprep.picture.tone.gone'"):
        pins.operator_named("imgprep.picture.tone.gone")


def test_the_code_of_an_operator_is_what_inspect_would_read():
    """It is looked up by line in the parsed file, which is quicker: not one character may differ."""
    kinds = types.FunctionType | type
    found = [
        value
        for module in (augment, codec, variants, windows)
        for value in vars(module).values()
        if isinstance(value, kinds) and value.__module__ == module.__name__
    ]
    methods = [m for value in found for m in vars(value).values() if isinstance(m, types.FunctionType)]
    written = [m for m in methods if m.__code__.co_filename == sys.modules[m.__module__].__file__]
    assert len(found) > 30 and len(written) > 8
    for value in [*found, *written, functools.partial, lambda: 1]:
        assert pins._source_text(value) == inspect.getsource(value), value
