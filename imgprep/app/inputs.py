"""Are the files, folders and columns there that a pipeline's steps begin with? Reads only heads."""

from pathlib import Path

from imgprep import words
from imgprep.app.pipeline import Pipeline, Step
from imgprep.project import resolve, resolve_input, short
from imgprep.rows import tables
from imgprep.rows.beside import folder_of


def check_inputs(plan: Pipeline) -> None:
    """ValueError unless each input is there, or lies in the `out` that an earlier step fills."""
    filled: list[Path] = []
    for step in plan.steps:
        for name in step.inputs:
            path = step.value(name)
            if not is_missing(path):
                continue
            if not any(Path(resolve(path)).is_relative_to(out) for out in filled):
                raise ValueError(f"{name}: {words.missing(resolve(path))}")
        _check_columns(step)
        if "out" in step.known:
            filled.append(Path(resolve(step.value("out"))))


def is_missing(path: str | None) -> bool:
    """Does this path name nothing on this machine?

    None, URIs and names on the Hub are left to the stage.
    """
    if path is None or "://" in path:
        return False
    # Stays relative where it is a name on the Hub; "photos/*" is there where the folder is.
    found = Path(resolve_input(folder_of(path) or path))
    return found.is_absolute() and not found.exists()


def _check_columns(step: Step) -> None:
    """ValueError for a column that no input has.

    Only where all are tables on this machine with their names at the top.
    """
    paths = [resolve_input(step.value(name)) for name in step.inputs if step.value(name)]
    heads = [tables.known_columns(path) for path in paths]
    if not all(heads):
        return
    renamed = step.value("rename") if "rename" in step.known else {}
    found = dict.fromkeys(name for head in heads for name in head)
    names = [renamed.get(name, name) for name in found]
    where = ", ".join(map(short, paths))
    for column in step.columns:
        wanted = step.value(column)
        if wanted is not None and wanted not in names:
            raise ValueError(f"{column}: {words.no_column(wanted, names, where)}")
