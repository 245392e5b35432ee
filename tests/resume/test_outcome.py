"""The truth table of a row: what an earlier stage said, what was computed, what the row says then."""

import pyarrow as pa
import pytest

from imgprep.resume.outcome import outcome

OK = ("ok", "", "")
NEW = ("", "", "")  # a row of a table, before any stage
LATE = ("placeholder", "timeout", "the host was slow")
DEAD = ("failed", "http_404", "not found")

DONE = (True, "", "")
BAD = (False, "error", "f: KeyError: 'x'")
NOTHING = (None, None, None)  # there was no picture to compute from

TRUTH = [
    (NEW, DONE, OK),
    (NEW, BAD, ("failed", "error", "f: KeyError: 'x'")),
    (NEW, NOTHING, ("failed", "", "")),
    (OK, DONE, OK),
    (OK, BAD, ("failed", "error", "f: KeyError: 'x'")),
    (OK, NOTHING, ("failed", "", "")),
    (LATE, DONE, LATE),  # computed well, and still a placeholder
    (LATE, BAD, ("failed", "timeout", "the host was slow")),
    (LATE, NOTHING, LATE),
    (DEAD, DONE, DEAD),
    (DEAD, BAD, DEAD),
    (DEAD, NOTHING, DEAD),
]


@pytest.mark.parametrize(("before", "computed", "after"), TRUTH)
def test_a_row_says_the_first_thing_that_went_wrong(before, computed, after):
    had = {n: pa.array([v], pa.string()) for n, v in zip(("status", "reason", "error"), before, strict=True)}
    kinds = {"done": pa.bool_(), "reason": pa.string(), "error": pa.string()}
    gave = {n: pa.array([v], kinds[n]) for n, v in zip(kinds, computed, strict=True)}
    found = outcome(had, gave)
    assert tuple(found[name][0].as_py() for name in ("status", "reason", "error")) == after


def test_the_table_is_whole():
    assert len({(before, computed) for before, computed, _ in TRUTH}) == len(TRUTH) == 4 * 3
