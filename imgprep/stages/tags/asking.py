"""Tags by a vision model: one question for every picture, its words as entries of the column
`tags`.
"""

from collections import Counter

import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.failures import known_reason
from imgprep.io.vision import Linked, Prompt, Said, Vision
from imgprep.picture import codec, geometry
from imgprep.rows.tag_columns import tags_of_table, with_tags
from imgprep.rows.tag_entries import TagEntry, entry, merged_entries
from imgprep.stages import images
from imgprep.stages.tags.linking import signed_links
from imgprep.words import number_of

SIDE_ASKED = 512  # pixels: the least that services look at, without metadata
ASKED_TOGETHER = 256  # pictures held at once
CACHE = ".imgprep/answers.sqlite"
REASON_COLUMN = "ask_reason"


def ask(
    ds: Dataset | str,
    out: str,
    vision: Vision,
    prompt: Prompt | None = None,
    *,
    links: Dataset | str | None = None,
    variant: str = "vision",
    expires_s: int = 3600,
    credentials_env: str | None = None,
) -> Dataset:
    """The dataset with what a vision model says of each picture, as the dataset folder `out`.

    Pictures go as JPEGs of SIDE_ASKED pixels without metadata. Tags have the model as source and
    the prompt's version. A picture without an answer keeps its tags, and has the reason in the
    column `ask_reason`. Answers are kept in `out`: a second run asks only about what is new, and a
    killed one goes on. Runs in this process, so that the service's limits hold.
    links: a dataset of `upload.upload` with the same pictures: those of the size `variant` go by
    URLs signed for `expires_s` seconds; what is not in it goes as bytes. Signatures are kept
    nowhere. Raises ValueError where the service refuses everything, or nothing can be signed.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    prompt = prompt or Prompt()
    if vision.cache is None:
        vision.cache = _cache_in(out)
    signed: dict[tuple[str, str], Linked] = {}
    if links is not None:
        signed = signed_links(links, variant, expires_s, credentials_env)
    tables: dict[str, pa.Table] = {}
    reasons: Counter = Counter()
    for split in ds.splits:
        table = ds.table(split)
        if REASON_COLUMN in table.column_names:
            table = table.drop_columns([REASON_COLUMN])
        answers = _answers_of(ds, split, table, vision, prompt, signed)
        reasons.update(answer.reason for answer in answers.values() if answer.reason)
        tables[split] = _with_answers(table, answers, vision.model, vision.version(prompt))
    failed = ", ".join(f"{word} {count:,}" for word, count in reasons.most_common())
    told = f"{number_of(vision.sent, 'request')}, {vision.tokens_in:,} tokens in, {vision.tokens_out:,} out"
    print(f"{told}; {failed or 'all answered'}")
    return images.copy(ds, tables, out)


def _cache_in(out: str) -> str:
    """The file of answers that belongs to a dataset folder."""
    folder = Folder(out)
    if folder.remote:
        raise ValueError(f"{out!r} is on a store: give Vision a local file cache= for its answers")
    return folder.full(CACHE)


def _answers_of(
    ds: Dataset,
    split: str,
    table: pa.Table,
    vision: Vision,
    prompt: Prompt,
    signed: dict[tuple[str, str], Linked],
) -> dict[int, Said]:
    """Row -> answer, of the rows that have a picture."""
    ids = table["image_id"].to_pylist()
    rows = [n for n, status in enumerate(table["status"].to_pylist()) if status == "ok"]
    found: dict[int, Said] = {}
    for start in range(0, len(rows), ASKED_TOGETHER):
        some = rows[start : start + ASKED_TOGETHER]
        asked: dict[int, bytes | Linked] = {}
        for row in some:
            picture = signed.get((split, ids[row]))
            if picture is not None:
                asked[row] = picture
        unlinked = [row for row in some if row not in asked]
        for row, data in zip(unlinked, ds.pictures(split, unlinked), strict=True):
            small = _asked_picture(data)
            if small:
                asked[row] = small
        answers = vision.ask(prompt, [*asked.values()])
        found |= dict(zip(asked, answers, strict=True))
    return found


def _asked_picture(data: bytes | None) -> bytes:
    """The small JPEG that is sent; b"" where the picture cannot be read."""
    try:
        image = codec.decode(data or b"", min_wh=(SIDE_ASKED, SIDE_ASKED))
    except codec.DecodeError:
        return b""
    if max(image.shape[:2]) > SIDE_ASKED:
        image = geometry.fit(image, (SIDE_ASKED, SIDE_ASKED))
    return codec.encode(image, "JPEG", quality=85)


def _with_answers(table: pa.Table, answers: dict[int, Said], model: str, version: str) -> pa.Table:
    after = []
    reasons = []
    for row, entries in enumerate(tags_of_table(table)):
        answer = answers.get(row)
        reason = ""
        if answer is not None:
            entries = merged_entries(entries, _said_entries(answer, model, version))
            if answer.reason:
                reason = known_reason(answer.reason)
        after.append(entries)
        reasons.append(reason)
    column = pa.array(reasons, pa.string())
    return with_tags(table, after).append_column(REASON_COLUMN, column)


def _said_entries(answer: Said, model: str, version: str) -> list[TagEntry]:
    found = []
    for kind, words in answer.words.items():
        for word in words:
            said = {"kind": kind, "name": word}
            found.append(entry(said, source=model, version=version))
    return found
