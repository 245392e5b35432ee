"""What in a dataset is not for everyone: secrets, signed URLs, paths of a machine."""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.io.web.addresses import SIGNED
from imgprep.stages.publish.shards import LOCAL

TOKENS = (
    r"\bhf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS
    r"\bgh[pousr]_[A-Za-z0-9]{36}",  # GitHub
    r"\bgithub_pat_\w{22,}",
    r"\bglpat-[\w-]{20}",  # GitLab
    r"\bsk-[A-Za-z0-9_-]{20,}",  # OpenAI
    r"\b[rs]k_live_\w{20}",  # Stripe
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"\bAIza[\w-]{35}",  # Google
    r"AccountKey=[A-Za-z0-9+/=]{40,}",  # Azure
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
    r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",  # JSON web tokens
)
ROOTS = (
    "home|Users|root|mnt|media|tmp|var|data|opt|srv|private|Volumes|workspace|scratch|content"
    "|kaggle|dbfs"
)
PATHS = "paths of a machine"
PATTERNS = {
    "secrets": "|".join(TOKENS),
    "signed URLs": rf"(?i){SIGNED.pattern}[^*&\s]|://[^/\s:@]+:[^/\s@]+@",
    PATHS: rf"(?:^|[\s'\"(=])(?:file://)?(?:/(?:{ROOTS})/[^/\s]+|[A-Za-z]:\\\w)",
}


def suspicious(table: pa.Table) -> Iterator[tuple[str, str, list[int]]]:
    """(what, column, rows) of text that is not for everyone; in lists the numbers are those of
    their items."""
    for name in table.column_names:
        for text in _texts(table[name]):
            for what, pattern in PATTERNS.items():
                hits = pc.fill_null(pc.match_substring_regex(text, pattern), False)
                rows = np.flatnonzero(hits).tolist()
                if what == PATHS and name in ("source", "error"):
                    rows = [row for row in rows if not _is_own(table, name, row)]
                if rows:
                    yield what, name, rows


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
    return name != "error" or not re.search(PATTERNS[PATHS], error.replace(source, ""))


def _texts(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    """The arrays of text in a column, however deep."""
    array = column.combine_chunks()
    waiting = [array.chunk(0) if isinstance(array, pa.ChunkedArray) else array]
    while waiting:
        array = waiting.pop()
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            yield array
        elif pa.types.is_nested(array.type):
            inside = array.flatten()
            waiting += inside if isinstance(inside, list) else [inside]
