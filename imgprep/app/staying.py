"""Failures that the next run of a pipeline takes as they are, and the words that try them again."""

from collections import Counter
from collections.abc import Sequence

from imgprep.app.inventory import find_datasets
from imgprep.app.pipeline import Pipeline
from imgprep.dataset import Dataset
from imgprep.dataset.counts import words
from imgprep.project import resolve
from imgprep.resume.again import is_passing, told_reasons

RETRY = "retry_failed"


def told_in(ds: Dataset) -> Counter[str]:
    """The reasons of a dataset's rows, as the next run judges them: by the sentences beside them."""
    found: Counter[str] = Counter()
    if not ds.counts()["reasons"]:
        return found
    for split in ds.splits:
        table = ds.table(split, ["reason", "error"])
        found.update(told_reasons(table["reason"], table["error"]).to_pylist())
    del found[""]
    return found


def staying(ds: Dataset, others: Sequence[Dataset]) -> dict[str, int]:
    """Reasons of failures of this stage's own that no next run tries again by itself.

    others: among them those that it may have been made of, whose failures are not its own.
    """
    own = told_in(ds)
    for other in others:
        # By the whole chain of stages: two datasets of one name may be made of other tables.
        if _chain(other) == ds.info.get("earlier", []):
            own -= told_in(other)
            break
    return {reason: n for reason, n in own.items() if not is_passing(reason)}


def _chain(ds: Dataset) -> list:
    made = {name: ds.info[name] for name in ("stage", "options")}
    return [*ds.info.get("earlier", []), made]


def staying_line(plan: Pipeline) -> str:
    """Of all datasets of a plan: how many failures stay, why, and what tries them again; or ""."""
    if RETRY not in plan.known:
        return ""
    outs = {resolve(step.value("out")) for step in plan.steps if "out" in step.known}
    near = [out for out in outs if "://" not in out]
    folders = {folder for out in near for folder in find_datasets(out)}
    made = [Dataset(folder) for folder in sorted(folders)]
    total: Counter[str] = Counter()
    for ds in made:
        total.update(staying(ds, made))
    n = total.total()
    if not n:
        return ""
    what = "1 failure stays" if n == 1 else f"{n:,} failures stay"
    them = "it" if n == 1 else "them"
    return f"{what} ({words(total)}): -p {RETRY}=true tries {them} again"
