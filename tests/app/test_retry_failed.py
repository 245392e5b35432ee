"""Failures of earlier runs can be tried again in every pipeline, in every step that may have some."""

import json

import pytest
from conftest import ROOT

from imgprep.app import pipeline
from imgprep.app.spec import homes

NAMES = sorted(path.stem for path in (ROOT / "pipelines").glob("*.yaml"))
# Verbs that keep failures, and take retry_failed.
VERBS = (
    "download(",
    "transform(",
    "variants.build(",
    "upload.upload(",
    "segment(",
    "pairs.write(",
    "tags.find(",
    "extract_frames(",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_tries_its_failures_again(name):
    plan = pipeline.load_pipeline(name, {**needed(name), "retry_failed": "true"})
    assert plan.known["retry_failed"].default is False
    taking = [step for step in plan.steps if "retry_failed" in step.known]
    assert taking and all(step.value("retry_failed") is True for step in taking)
    untold = pipeline.load_pipeline(name, needed(name)).steps
    assert not any(step.value("retry_failed") for step in untold if step in taking)


def needed(name):
    """What a pipeline cannot do without."""
    return {"train_csv": "train.csv", "test_csv": "test.csv"} if name == "products" else {}


def code_of(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


# The others show a service, or work that keeps no failures.
WORKING = [path for path in sorted((homes()[-1] / "notebooks").glob("*.ipynb")) if "max_failed: " in code_of(path)[0]]


@pytest.mark.parametrize("path", WORKING, ids=lambda path: path.stem)
def test_a_notebook_hands_it_to_each_verb_that_takes_it(path):
    parameters, *cells = code_of(path)
    assert "\nretry_failed: bool = False  # try the failures of earlier runs again\n" in parameters
    for source in cells:
        if any(verb in source for verb in VERBS):
            assert "retry_failed=retry_failed" in source
