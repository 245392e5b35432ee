"""What in a dataset is not for everyone: secrets, signed URLs, paths of a machine."""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import redaction
from imgprep.stages.publish.shards import LOCAL

ROOTS = (
    "home|Users|root|mnt|media|tmp|var|data|opt|srv|private|Volumes|workspace|scratch|content"
    "|kaggle|dbfs"
)
PATHS = "paths of a machine"
PATH = rf"(?:^|[\s'\"(=])(?:file://)?(?:/(?:{ROOTS})/[^/\s]+|[A-Za-z]:\\\w)"
SCANNED_FOR = [PATH, redaction.HINT, *(rule.pattern for rule in redaction.SECRET_RULES)]


def first_found(text: str) -> tuple[str, int] | None:
    """What is not for everyone in a text: its kind, and where it begins."""
    found = redaction.secret_in(text)
    if found is None and (path := re.search(PATH, text)):
        return PATHS, path.end()
    return found


def suspicious(table: pa.Table) -> Iterator[tuple[str, str, list[int]]]:
    """(what, column, rows) of text that is not for everyone; in lists the numbers are those of
    their items."""
    for name in table.column_names:
        for text in redaction.texts_of(table[name].combine_chunks()):
            yield from ((what, name, rows) for what, rows in _secrets(text).items())
            hits = pc.fill_null(pc.match_substring_regex(text, PATH), False)
            rows = np.flatnonzero(hits).tolist()
            # A source is cut short when it is published, so that it is no finding.
            if name in ("source", "error"):
                rows = [row for row in rows if not _is_own(table, name, row)]
            if rows:
                yield PATHS, name, rows


def _secrets(text: pa.Array) -> dict[str, list[int]]:
    """Which items of an array hold a secret, by its kind."""
    found: dict[str, list[int]] = {}
    for row in np.flatnonzero(redaction.hinted(text)).tolist():
        secret = redaction.secret_in(text[row].as_py())
        if secret is not None:
            found.setdefault(secret[0], []).append(row)
    return found


def _is_own(
    table: pa.Table,
    name: str,
    row: int,
) -> bool:
    """Whether a path is that of the row's source, which is cut short when it is published."""
    source = table["source"][row].as_py() or ""
    error = table["error"][row].as_py() or ""
    if not re.match(LOCAL, source):
        return False
    return name != "error" or not re.search(PATH, error.replace(source, ""))
