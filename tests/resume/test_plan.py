"""A plan is worked out from what is given and what is known; nothing runs, nothing is written."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from imgprep.dataset import INDEX
from imgprep.dataset.files import Folder
from imgprep.resume.inputs import Inputs
from imgprep.resume.known import Known
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.plan import UNIT_BYTES, RunOptions, make_plan
from imgprep.resume.shape import Shape
from imgprep.resume.stage import Stage
from imgprep.resume.work import Work

NONE = pa.schema([])


def inputs(identities, **more):
    rows = pa.table({"image_id": [str(i) for i in range(len(identities))], "source": [""] * len(identities)})
    return Inputs(rows, identities, where=[f"picture {i}" for i in range(len(identities))], **more)


def stage(operation=None, **splits):
    work = Work(PartWriter(Folder("/nowhere"), part_schema(NONE)), None, None)
    return Stage("test", {}, operation or {"stage": "test"}, splits, work, Shape(NONE))


def options(**more):
    return RunOptions(**{"run_id": "run", "batch_size": 100, **more})


def known(plan, split, *rows):
    """As if these rows of a plan were in a part."""
    found = Known()
    keys = [plan.keys[split][row].as_py() for row in rows]
    line = {"file": "a part", "start": 0, "count": 1, "done": True, "nbytes": 0, "etag": "", "lines": 1}
    found.parts.add("a part", pa.Table.from_pylist([{"key": key, **line} for key in keys], INDEX))
    found.parts.files.append("a part")
    return found


def asked(plan):
    return [wanted.where for unit in plan.units for wanted in unit.payload]


def test_a_plan_prints_as_what_a_person_is_told():
    plan = make_plan(stage(train=inputs(["a", "b", "c"])), Known(), options())
    assert str(plan) == "3 of 3 rows to compute: the first run"
    assert len(repr(plan)) < 400


def test_a_unit_travels_as_a_plain_list():
    plan = make_plan(stage(train=inputs(["a", "b"])), Known(), options())
    (unit,) = plan.units
    moved = pickle.loads(pickle.dumps(unit))
    assert type(moved.payload) is list and moved == unit
    assert unit.payload[1].where == "picture 1" and len(unit.payload[:1]) == 1


def test_the_same_rows_have_the_same_plan():
    one, other = (make_plan(stage(train=inputs(["a", "b"])), Known(), options()) for _ in range(2))
    assert one.units == other.units and one.batches == other.batches and one.why == other.why


def test_what_is_known_is_not_computed():
    given = stage(train=inputs(list("abcd")))
    first = make_plan(given, Known(), options())
    plan = make_plan(given, known(first, "train", 1, 3), options())
    assert asked(plan) == ["picture 0", "picture 2"]
    assert plan.why == "2 of 4 rows to compute: an earlier run was not finished"


def test_equal_rows_are_computed_once_where_they_stand_first():
    plan = make_plan(stage(train=inputs(["a", "b", "a"]), test=inputs(["b", "c"])), Known(), options())
    assert asked(plan) == ["picture 0", "picture 1", "picture 1"] and plan.missing == 3
    assert plan.total == 5


def test_a_row_without_a_picture_is_not_computed():
    plan = make_plan(stage(train=inputs([None, "a", None])), Known(), options())
    assert asked(plan) == ["picture 1"] and plan.keys["train"].null_count == 2


def test_batches_are_cut_by_rows_and_an_empty_split_has_one():
    plan = make_plan(stage(train=inputs(["a"] * 7), test=inputs([])), Known(), options(batch_size=3))
    assert [(b.name, b.rows) for b in plan.batches] == [
        ("train-00000", 3),
        ("train-00001", 3),
        ("train-00002", 1),
        ("test-00000", 0),
    ]


def test_no_unit_reaches_over_two_batches():
    plan = make_plan(stage(train=inputs([str(i) for i in range(30)])), Known(), options(batch_size=7))
    rows = [[int(w.where.split()[1]) for w in unit.payload] for unit in plan.units]
    assert [len({row // 7 for row in unit}) for unit in rows] == [1] * len(rows)
    assert sorted(sum(rows, [])) == [*range(30)]


def test_a_unit_holds_so_many_bytes_at_most():
    sizes = np.full(9, UNIT_BYTES // 2)
    plan = make_plan(stage(train=inputs([str(i) for i in range(9)], nbytes=sizes)), Known(), options())
    assert [len(unit.payload) for unit in plan.units] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("workers", [1, 4, 1000])
def test_there_are_units_for_every_worker(workers):
    given = stage(train=inputs([str(i) for i in range(900)]))
    plan = make_plan(given, Known(), options(workers=workers, batch_size=900))
    sizes = [len(unit.payload) for unit in plan.units]
    assert sum(sizes) == 900 and max(sizes) == max(8, min(200, 900 // (8 * workers)))


def test_another_operation_has_other_keys_and_another_run_has_not():
    rows = inputs(["a", "b"])
    first = make_plan(stage(train=rows), Known(), options())
    assert make_plan(stage(train=rows), Known(), options(run_id="other")).keys == first.keys
    other = make_plan(stage({"stage": "test", "size": 2}, train=rows), Known(), options())
    assert not set(other.keys["train"].to_pylist()) & set(first.keys["train"].to_pylist())


def test_columns_that_a_function_asked_for_are_in_the_keys():
    rows = inputs(["a", "b"])
    named = Inputs(rows.rows.append_column("label", pa.array(["x", None])), rows.identity, rows.where)
    plain = make_plan(stage(train=named), Known(), options())
    labelled = make_plan(stage(train=named.with_columns(["label"])), Known(), options())
    assert plain.keys != labelled.keys
    assert [w.columns for w in labelled.units[0].payload] == [{"label": "x"}, {"label": None}]


@pytest.mark.parametrize("name", ["image", "sha256", "file", "row"])
def test_a_column_with_a_name_of_ours_is_refused(name):
    rows = inputs(["a"])
    taken = Inputs(rows.rows.append_column(name, pa.array(["x"])), rows.identity, rows.where)
    with pytest.raises(ValueError, match=f"there is a column '{name}', a name that imgprep needs"):
        make_plan(stage(train=taken), Known(), options())


@pytest.mark.parametrize("split", ["a b", "all", "", "a-b"])
def test_a_split_that_datasets_has_no_name_for_is_refused(split):
    with pytest.raises(ValueError, match="is no name for `datasets`"):
        make_plan(stage(**{split: inputs(["a"])}), Known(), options())
