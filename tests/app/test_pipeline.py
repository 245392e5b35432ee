import json
import re
import shlex

import pytest

from imgprep.app import inputs, pipeline, spec

YAML = """
description: Two steps
parameters:
  table: data/a.csv
  out: data/made
  size_wh: [128, 128]
  note: null
steps:
  - name: get
    notebook: notebooks/get.ipynb
    inputs: [table]
    parameters: {table: "${table}", out: "${out}", note: "${note}"}
  - name: shape
    notebook: notebooks/shape.ipynb
    inputs: [source]
    parameters: {source: "${out}/raw", out: "${out}/ocr", size_wh: "${size_wh}"}
tables: ["${out}/labels.csv"]
"""


@pytest.fixture
def two(project):
    project.notebook("get", "table: str = 'x.csv'  # the table\nout: str = 'o'\nnote: str | None = None")
    project.notebook("shape", "source: str = 's'\nout: str = 'o'\nsize_wh: list[int] = [1, 1]  # w, h\nfill: int = 255")
    project.pipeline("two", YAML)
    (project.root / "data").mkdir()
    (project.root / "data" / "a.csv").write_text("a\n1\n")
    return project


def given(plan):
    return {step.name: step.given for step in plan.steps}


def test_the_steps_get_the_pipelines_parameters(two):
    plan = pipeline.load_pipeline("two", {"size_wh": "[256,256]", "shape.fill": "0", "out": "there"})
    assert given(plan) == {
        "get": {"table": "data/a.csv", "out": "there", "note": None},
        "shape": {"source": "there/raw", "out": "there/ocr", "size_wh": [256, 256], "fill": 0},
    }
    assert plan.values == {
        "table": "data/a.csv", "out": "there", "size_wh": [256, 256], "note": None, "shape.fill": 0,
    }  # fmt: skip
    assert plan.tables == [str(two.root / "there" / "labels.csv")]


def test_a_value_for_one_step_leaves_the_others_alone(two):
    plan = pipeline.load_pipeline("two", {"get.out": "elsewhere"})
    assert given(plan)["get"]["out"] == "elsewhere"
    assert given(plan)["shape"]["out"] == "data/made/ocr"


def test_types_and_help_are_those_of_the_notebook(two):
    known = pipeline.load_pipeline("two").known
    assert known["size_wh"].kind == list[int] and known["size_wh"].help == "w, h"
    assert known["note"].kind == str | None
    assert known["out"].kind is str


def test_text_stays_text_where_text_is_declared(two):
    plan = pipeline.load_pipeline("two", {"note": "007", "out": "2024"})
    assert given(plan)["get"] == {"table": "data/a.csv", "out": "2024", "note": "007"}
    assert pipeline.load_pipeline("two", {"note": "null"}).steps[0].given["note"] is None


def test_the_command_makes_the_same_run_again(two):
    wanted = {"size_wh": [64, 64], "note": "it's $5", "shape.fill": 0}
    plan = pipeline.load_pipeline("two", wanted)
    words = shlex.split(plan.command)
    assert words[:3] == ["imgprep", "run", "two"]
    again = dict(text.split("=", 1) for text in words[4::2])
    assert given(pipeline.load_pipeline("two", again)) == given(plan)


def test_what_a_user_gives_is_not_searched_for_references(two):
    assert pipeline.load_pipeline("two", {"note": "${out}"}).steps[0].given["note"] == "${out}"


def test_a_reference_may_name_a_parameter_of_another_step(two):
    two.pipeline("two", YAML.replace("${out}/raw", "${get.out}/raw"))
    assert pipeline.load_pipeline("two", {"get.out": "x"}).steps[1].given["source"] == "x/raw"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"size_hw": "[1,1]"}, "there is no parameter 'size_hw'; did you mean 'size_wh'?"),
        ({"fill": "0"}, "there is no parameter 'fill'; did you mean 'shape.fill'?"),
        ({"shap.fill": "0"}, "there is no parameter 'shap.fill'; did you mean 'shape.fill'?"),
        ({"size_wh": "big"}, "parameter size_wh: 'big' is not list[int]"),
        ({"size_wh": "[1, x]"}, "parameter size_wh: 'x' is not int"),
        ({"shape.fill": "1.5"}, "parameter shape.fill: '1.5' is not int"),
        ({"out": None}, "parameter out: None is not str"),
        ({"get.table": None}, "parameter get.table: None is not str"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(two, values, says):
    with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
        pipeline.load_pipeline("two", values)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("steps:", "stepps:", "unknown key 'stepps'; did you mean 'steps'?"),
        ("    inputs: [table]", "    input: [table]", "step 1, has an unknown key 'input'; did you mean 'inputs'?"),
        ("name: shape", "name: get", "each with a name of its own"),
        ("notebooks/shape", "notebooks/shapes", "names the notebook notebooks/shapes.ipynb, which does not exist"),
        ("size_wh: \"", "size_hw: \"", "sets shape.size_hw, which the notebook does not declare; did you mean 'shape."),
        ("${size_wh}", "${size_hw}", "shape.size_wh refers to ${size_hw}, which is no parameter; did you mean"),
        ("out: data/made", "out: [data/made", "is not YAML"),
        ("out: data/made\n", "out: '${note}'\n  note: '${out}'\n", "in a circle: "),
    ],
)  # fmt: skip
def test_a_wrong_pipeline_is_one_sentence(two, old, new, says):
    text = YAML.replace(old, new) if "circle" not in says else YAML.replace(old, new).replace("  note: null\n", "")
    two.pipeline("two", text)
    with pytest.raises(ValueError) as error:
        pipeline.load_pipeline("two")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_parameter_without_a_default_must_be_given(two):
    two.pipeline("two", YAML.replace("table: data/a.csv", "table: null"))
    assert spec.outline("two").own["table"].default is None
    with pytest.raises(ValueError, match=r"^parameter table has no default: give it with -p table=\.\.\.$"):
        pipeline.load_pipeline("two")
    assert pipeline.load_pipeline("two", {"table": "data/a.csv"}).steps[0].given["table"] == "data/a.csv"


def test_an_unknown_pipeline_names_the_near_match(two):
    with pytest.raises(ValueError, match="there is no pipeline 'tow'; did you mean 'two'?"):
        pipeline.load_pipeline("tow")
    with pytest.raises(ValueError, match="there is no pipeline file else/two.yaml"):
        pipeline.load_pipeline("else/two.yaml")


def test_a_pipeline_can_be_named_by_its_file(two):
    assert pipeline.load_pipeline("pipelines/two.yaml").name == "two"
    assert pipeline.load_pipeline(two.root / "pipelines" / "two.yaml").name == "two"


def test_a_missing_input_is_found_before_the_run(two):
    plan = pipeline.load_pipeline("two", {"table": "data/b.csv"})
    with pytest.raises(ValueError, match=re.escape(f"table: there is no {two.root}/data/b.csv; did you mean 'a.csv'?")):
        inputs.check_inputs(plan)


def test_an_input_that_an_earlier_step_makes_is_not_missing(two):
    inputs.check_inputs(pipeline.load_pipeline("two"))
    with pytest.raises(ValueError, match="source: there is no .*else/where/raw"):
        inputs.check_inputs(pipeline.load_pipeline("two", {"shape.source": "else/where/raw"}))


@pytest.mark.parametrize("elsewhere", ["s3://bucket/train.csv", "https://example.org/a.csv", "some/dataset"])
def test_an_input_elsewhere_is_left_to_the_stage(two, elsewhere):
    inputs.check_inputs(pipeline.load_pipeline("two", {"table": elsewhere}))


def test_beside_a_folder_a_name_is_no_name_on_the_hub(two):
    with pytest.raises(ValueError, match="table: there is no .*/data/pictures"):
        inputs.check_inputs(pipeline.load_pipeline("two", {"table": "data/pictures"}))


def test_a_wrong_column_is_found_before_the_run(project):
    project.notebook("get", "table: str = 'a.csv'\nurl: str | None = 'link'\nrename: dict = {}")
    project.pipeline("one", "steps: [{name: get, notebook: notebooks/get.ipynb, inputs: [table], columns: [url]}]")
    for name, text in {"a.csv": "\ufeffLink,x\n1,2\n", "b.tsv": "link\tx\n", "c.jsonl": '{"x": 1}\n'}.items():
        (project.root / name).write_text(text)
    with pytest.raises(ValueError, match="^url: no column 'link'; a.csv has: Link, x; did you mean 'Link'[?]$"):
        inputs.check_inputs(pipeline.load_pipeline("one"))
    with pytest.raises(ValueError, match="^url: no column 'y'; b.tsv has: link, x$"):
        inputs.check_inputs(pipeline.load_pipeline("one", {"get.table": "b.tsv", "get.url": "y"}))
    for given in (
        {"get.rename": "{Link: link}"},
        {"get.url": "null"},
        {"get.table": "b.tsv"},
        {"get.table": "c.jsonl"},  # only reading all of it would tell
        {"get.table": "notebooks"},
    ):
        inputs.check_inputs(pipeline.load_pipeline("one", given))


def test_the_projects_own_files_come_before_those_of_the_package(two):
    two.pipeline("products", "steps: [{name: get, notebook: notebooks/get.ipynb}]")
    assert [s.name for s in pipeline.load_pipeline("products").steps] == ["get"]
    assert {"two", "products"} <= set(spec.names())


def test_loading_a_pipeline_writes_nothing(two):
    before = sorted(two.root.rglob("*"))
    pipeline.load_pipeline("two")
    assert sorted(two.root.rglob("*")) == before


def test_the_parameters_of_a_step_are_json(two):
    # the run's name is a hash of them, and the report embeds them
    plan = pipeline.load_pipeline("two", {"out": two.root / "x"})
    assert json.loads(json.dumps(given(plan))) == given(plan)


def test_a_step_is_left_out_while_what_it_waits_for_is_empty(project):
    project.notebook("01_a", 'repo_id: str = ""  # where')
    first, second = (f"- {{name: {name}, notebook: notebooks/01_a.ipynb" for name in "ab")
    waits = "when: '${to}', parameters: {repo_id: '${to}'}"
    project.pipeline("one", f"parameters: {{to: ''}}\nsteps:\n{first}}}\n{second}, {waits}}}\n")
    assert [step.name for step in pipeline.load_pipeline("one").steps] == ["a"]
    assert [step.name for step in pipeline.load_pipeline("one", {"to": "me/x"}).steps] == ["a", "b"]
