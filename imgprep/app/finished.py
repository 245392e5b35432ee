"""Is a pipeline's last run still whole?

Told in a second, without a kernel, by what lies on the disk.

Only for the package's own notebooks, whose inputs are all known: one of your own may read anything.
Whatever is not certain (a store, the Hub, a wish to try again) is answered with no, and runs.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imgprep
from imgprep.app.pipeline import Pipeline, Step
from imgprep.app.spec import homes
from imgprep.project import resolve, resolve_input
from imgprep.words import number_of

RECORD = "finished.json"  # in a run's folder
ASKS_AGAIN = ("retry_failed", "refresh")  # parameters that want work, whatever stands there
LOCKS = ("lock", "README.md.lock")


@dataclass(frozen=True)
class Finished:
    """What a run left: the last lines that it said, and a sentence for each of its stages."""

    folder: Path
    lines: list[str]
    sentences: list[str]


def digest_of(plan: Pipeline) -> str:
    """The plan as a hash, which names the folders of its runs."""
    about = [plan.name, plan.values, [step.given for step in plan.steps]]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:6]


def find_finished(plan: Pipeline, runs: Path) -> Finished | None:
    """The newest run of this plan below `runs`, where nothing has changed since it ended."""
    if not is_certain(plan):
        return None
    # By name: the time stands at its beginning, and sorts.
    newest = max(runs.glob(f"*Z-{digest_of(plan)}*"), default=None)
    if newest is None:
        return None
    try:
        record = json.loads((newest / RECORD).read_text("utf-8"))
        # In the order of their cost: what is read last is only read where all else is the same.
        is_same = (
            record["code"] == _code_of(plan)
            and record["inputs"] == {path: stamp(path) for path in record["inputs"]}
            and set(_named_inputs(plan)) <= record["inputs"].keys()
            and record["outputs"] == {path: stamp(path) for path in outputs(plan)}
            and all(os.path.exists(path) for path in record["shown"])
        )
        return Finished(newest, record["lines"], record["sentences"]) if is_same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no record, or a damaged one


def write_finished(
    plan: Pipeline, folder: Path, before: dict[str, str], lines: list[str], shown: list[str]
) -> None:
    """Keep what `find_finished` compares. before: `stamps` from before the run began."""
    if not is_certain(plan):
        return
    made = outputs(plan)
    if not _is_settled(made):
        return
    record = {
        "code": _code_of(plan),
        # From before the run: what changes while it works must be noticed by the next.
        "inputs": before | {path: stamp(path) for path in _picture_folders(made)},
        "outputs": {path: stamp(path) for path in made},
        "shown": shown,
        "lines": lines,
        "sentences": _sentences(plan),
    }
    (folder / RECORD).write_text(json.dumps(record), "utf-8")


def stamps(plan: Pipeline) -> dict[str, str]:
    """What the plan's inputs are now."""
    return {path: stamp(path) for path in _named_inputs(plan)}


def is_certain(plan: Pipeline) -> bool:
    """Can this machine's disk alone tell whether there is something to do?"""
    for step in plan.steps:
        if not _is_ours(step) or any(_value(step, name) for name in ASKS_AGAIN):
            return False
        if _value(step, "repo_id"):
            return False
        if any("://" in text for text in _texts_of(step)):
            return False
        for name in step.inputs:
            path = step.value(name)
            if path and not os.path.isabs(resolve_input(path)):  # a name on the Hub
                return False
    return bool(outputs(plan))


def outputs(plan: Pipeline) -> list[str]:
    """The folders that the steps fill; none that lies in another."""
    found = sorted({resolve(_value(step, "out")) for step in plan.steps if _value(step, "out")})
    return [path for path in found if not any(_is_in(path, other) for other in found)]


def stamp(path: str) -> str:
    """Names, sizes and times of a file, or of all files in a folder, as a hash; "" for none."""
    if not os.path.exists(path):
        return ""
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(_files_below(path)):
        try:
            found = os.stat(name)
        except OSError:  # a link to nowhere, or gone by now
            # surrogateescape: a file name need not be UTF-8.
            total.update(f"{name}\0gone\n".encode("utf-8", "surrogateescape"))
            continue
        facts = f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n"
        total.update(facts.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _files_below(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    for folder, _, names in os.walk(path):
        for name in names:
            if name not in LOCKS:
                yield os.path.join(folder, name)


def _code_of(plan: Pipeline) -> str:
    """The package, where it lies, and the text of every notebook."""
    package = Path(imgprep.__file__).parent
    total = hashlib.blake2b(imgprep.__version__.encode(), digest_size=16)
    # By size and time and not by content: hundreds of files are looked at before every run.
    for file in sorted(package.rglob("*.py")):
        found = file.stat()
        total.update(f"{file}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    for step in plan.steps:
        total.update(step.notebook.read_bytes())
    return total.hexdigest()


def _is_ours(step: Step) -> bool:
    """Is the notebook the package's own, or a copy of it without a change?"""
    carried = homes()[-1] / "notebooks" / step.notebook.name
    return carried.is_file() and carried.read_bytes() == step.notebook.read_bytes()


def _value(step: Step, name: str) -> Any:
    return step.value(name) if name in step.known else None


def _texts_of(step: Step) -> Iterator[str]:
    for name in step.known:
        yield from _texts_in(step.value(name))


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts_in(part)


def _named_inputs(plan: Pipeline) -> list[str]:
    """Every file and folder that a parameter names, but for what the steps make themselves."""
    made = outputs(plan)
    found = set()
    for step in plan.steps:
        wanted = {_file_of(step.value(name)) for name in step.inputs if step.value(name)}
        there = {
            _file_of(text) for text in _texts_of(step) if text and os.path.exists(_file_of(text))
        }
        found |= wanted | there
    return sorted(path for path in found if not _is_made(path, made))


def _file_of(text: str) -> str:
    """Where a file or a folder lies that a parameter names; "photos/*" is a folder."""
    from imgprep.rows.beside import folder_of

    return resolve(folder_of(text) or text)


def _is_made(path: str, made: Iterable[str]) -> bool:
    return any(path == other or _is_in(path, other) for other in made)


def _is_in(path: str, folder: str) -> bool:
    return path != folder and Path(path).is_relative_to(folder)


def _picture_folders(made: list[str]) -> list[str]:
    """The folders of this machine whose pictures the datasets were made of."""
    import pyarrow.compute as pc

    from imgprep.app.inventory import find_datasets
    from imgprep.dataset import Dataset

    found = set()
    for folder in [folder for root in made for folder in find_datasets(root)]:
        ds = Dataset(folder)
        for split in ds.splits:
            sources = ds.table(split, ["source"])["source"]
            local = sources.filter(pc.starts_with(sources, "/")).unique().to_pylist()
            found |= {os.path.dirname(source) for source in local}
    return sorted(path for path in found if not _is_made(path, made))


def _is_settled(made: list[str]) -> bool:
    """Is there no failure that the next run would try again?"""
    from imgprep.app.inventory import find_datasets
    from imgprep.app.staying import told_in
    from imgprep.dataset import Dataset
    from imgprep.resume.again import is_passing

    for folder in [folder for root in made for folder in find_datasets(root)]:
        ds = Dataset(folder)
        # Twice: the counts are at hand and say no most of the time; the sentences have to be read.
        if any(map(is_passing, ds.counts()["reasons"])) and any(map(is_passing, told_in(ds))):
            return False
    return True


def _sentences(plan: Pipeline) -> list[str]:
    """What each step's stages would say now."""
    from imgprep.app.inventory import find_datasets
    from imgprep.app.staying import staying
    from imgprep.dataset import Dataset
    from imgprep.resume.again import stay_sentence

    places = [resolve(_value(step, "out")) if _value(step, "out") else "" for step in plan.steps]
    sentences = []
    every: list[Any] = []
    for number, step in enumerate(plan.steps):
        others = [place for place in places if place and _is_in(place, places[number])]
        mine = [f for f in find_datasets(places[number]) if not _is_made(f, others)]
        # In the order in which they were made, since a stage is told by what came before it.
        made = sorted(map(Dataset, mine), key=_last_run)
        every += made
        now = ", as things are now" if number else ""
        for ds in made:
            stays = stay_sentence(staying(ds, every))
            what = f"{number_of(ds.counts()['rows'], 'row')}, nothing to compute"
            sentences.append(f"{step.name}{now}: {what}{'; ' if stays else ''}{stays}")
    return sentences


def _last_run(ds: Any) -> str:
    runs = ds.runs()
    return runs[-1]["started"] if runs else ""
