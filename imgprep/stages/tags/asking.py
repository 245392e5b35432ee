"""Tags by a vision model: one question for every picture, its words as entries of the column `tags`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.failures import known_reason
from imgprep.io.vision import Prompt, Said, Vision
from imgprep.picture import codec, geometry
from imgprep.stages import images
from imgprep.stages.tags.entries import entry, merged_entries, with_tags

SIDE_ASKED = 512  # pixels: the least that services look at, without metadata
ASKED_TOGETHER = 256  # pictures held at once
CACHE = ".imgprep/answers.sqlite"
REASON_COLUMN = "ask_reason"


def ask(ds: Dataset | str, out: str, vision: Vision, prompt: Prompt | None = None) -> Dataset:
    """The dataset with what a vision model says of each picture, as the dataset folder `out`.

    Pictures go as JPEGs of SIDE_ASKED pixels without metadata. Tags have the model as source and the prompt's version.
    A picture without an answer keeps its tags, and has the reason in the column `ask_reason`.
    Answers are kept in `out`: a second run asks only about what is new, and a killed one goes on. Runs in this process,
    so that the service's limits hold. Raises ValueError where the service refuses everything.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    prompt = prompt or Prompt()
    if vision.cache is None:
        folder = Folder(out)
        if folder.remote:
            raise ValueError(f"{out!r} is on a store: give Vision a local file cache= for its answers")
        vision.cache = folder.full(CACHE)
    tables: dict[str, pa.Table] = {}
    reasons: Counter = Counter()
    for split in ds.splits:
        table = ds.table(split)
        if REASON_COLUMN in table.column_names:
            table = table.drop_columns([REASON_COLUMN])
        answers = _answers_of(ds, split, table, vision, prompt)
        reasons.update(a.reason for a in answers.values() if a.reason)
        tables[split] = _with_answers(table, answers, vision.model, vision.version(prompt))
    told = ", ".join(f"{word} {n:,}" for word, n in reasons.most_common())
    print(
        f"{vision.sent:,} requests, {vision.tokens_in:,} tokens in, {vision.tokens_out:,} out; {told or 'all answered'}"
    )
    return images.copy(ds, tables, out)


def _answers_of(ds: Dataset, split: str, table: pa.Table, vision: Vision, prompt: Prompt) -> dict[int, Said]:
    """Row -> answer, of the rows that have a picture."""
    rows = [n for n, status in enumerate(table["status"].to_pylist()) if status == "ok"]
    found: dict[int, Said] = {}
    for start in range(0, len(rows), ASKED_TOGETHER):
        some = rows[start : start + ASKED_TOGETHER]
        small = {row: _asked_picture(data) for row, data in zip(some, ds.pictures(split, some), strict=True)}
        whole = {row: data for row, data in small.items() if data}
        found |= dict(zip(whole, vision.ask(prompt, [*whole.values()]), strict=True))
    return found


def _asked_picture(data: bytes | None) -> bytes:
    try:
        image = codec.decode(data or b"", min_wh=(SIDE_ASKED, SIDE_ASKED))
    except codec.DecodeError:
        return b""
    if max(image.shape[:2]) > SIDE_ASKED:
        image = geometry.fit(image, (SIDE_ASKED, SIDE_ASKED))
    return codec.encode(image, "JPEG", quality=85)


def _with_answers(table: pa.Table, answers: dict[int, Said], model: str, version: str) -> pa.Table:
    before: Sequence[Any] = table["tags"].to_pylist() if "tags" in table.column_names else [None] * len(table)
    after, reasons = [], []
    for row, entries in enumerate(before):
        answer = answers.get(row)
        said = [
            entry({"kind": kind, "name": word}, source=model, version=version)
            for kind, words in (answer.words if answer else {}).items()
            for word in words
        ]
        after.append(merged_entries(entries, said) if answer else entries)
        reasons.append(known_reason(answer.reason) if answer and answer.reason else "")
    return with_tags(table, after).append_column(REASON_COLUMN, pa.array(reasons, pa.string()))
