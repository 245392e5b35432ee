"""The bytes of a CSV as text cells: which encoding it is in, and what parts its columns.

Both are worked out from the bytes where they are not given, and told, so that a guess is never
silent.
"""

import codecs
import csv
import io
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE_RECORDS = 50  # so many show what parts the columns
SAMPLE_CHARACTERS = 1 << 20
BYTE_ORDER_MARKS = {  # the longer ones first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEP_LINE = re.compile(r'"?sep=(.)"?\r?(?:\n|$)', re.IGNORECASE)
# What is Windows-1252 and no other encoding: no UTF-8 in it; letters one or two at a time, as no
# Cyrillic or Japanese text read as that has them; the signs of typesetters; and "³", a letter in
# Polish, not before one.
UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
FOREIGN = re.compile(r"[^\x00-\x7f]+[A-Za-z]?")
WESTERN = re.compile(
    r"(?:[À-ÖØ-öø-ÿŠšŽžŒœŸ]{1,2}(?![À-ÖØ-öø-ÿ])"
    r"|[‘’“”„‚–—…€£§°«»·•±©®™¡¿ªºµ\xa0]"
    r"|[²³¹¼½¾](?![A-Za-zÀ-ÿ]))*[A-Za-z]?"
)
RECORD_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")  # with its end, as csv wants them
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


class Hints(NamedTuple):
    """What a user says of a CSV; None: it is found out."""

    sep: str | None = None
    encoding: str | None = None


@dataclass
class Dialect:
    """How a CSV is written. notes: sentences about what was worked out rather than given."""

    text: str
    sep: str
    notes: list[str] = field(default_factory=list)


def decoded(data: bytes, encoding: str | None = None) -> tuple[str, str]:
    """(text, encoding) of some bytes: as given, or by its mark, else UTF-8, UTF-16 or Windows-1252.

    Raises ValueError where the encoding is none, or cannot be told.
    """
    if encoding is not None:
        return _as_given(data, encoding), encoding
    # A mark of byte order is no guess, so it is asked for first.
    for mark, name in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return data.decode(name), name
    # UTF-16 without its mark: every other byte of plain text is zero.
    start = data[:1000]
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = start[first::2].count(0)
        # Zeros in one half only: in a file of binary numbers they stand in both.
        if len(start) >= 4 and zeros > 0.4 * len(start) and not start[1 - first :: 2].count(0):
            return data.decode(name), name
    # Before Windows-1252, which takes nearly any bytes: text that is UTF-8 by chance hardly exists.
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as e:
        return _western(data, e), "Windows-1252"


def _as_given(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except LookupError as e:
        raise ValueError(
            f"there is no encoding {encoding!r}; usual ones are 'utf-8', 'cp1252', 'utf-16'"
        ) from e
    except UnicodeDecodeError as e:
        raise ValueError(f"it is not in encoding={encoding!r}: {e}") from e
    return text.removeprefix("\ufeff")


def _western(data: bytes, error: UnicodeDecodeError) -> str:
    line = data.count(b"\n", 0, error.start) + 1
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    # The first ten thousand: a file of a gigabyte in Cyrillic says no at the first of them.
    foreign = islice(FOREIGN.finditer(text), 10_000)
    is_western = text and not UTF8_SEQUENCE.search(data)
    if not is_western or not all(WESTERN.fullmatch(run[0]) for run in foreign):
        raise ValueError(
            f"it is not UTF-8 (line {line}); give encoding=, "
            "for example 'cp1252', 'cp1251' or 'shift_jis'"
        ) from error
    return text


def dialect(
    data: bytes, usual: str, *, sep: str | None = None, encoding: str | None = None
) -> Dialect:
    """How these bytes are written.

    Usual: what parts the columns where nothing speaks against it.
    """
    if sep is not None and (not isinstance(sep, str) or len(sep) != 1):
        raise ValueError(f"sep is one character, for example ';', not {sep!r}")
    text, found = decoded(data, encoding)
    made = Dialect(text, sep or usual)
    if encoding is None and not found.startswith("utf-8"):
        made.notes.append(f"it is read as {found}; where that is wrong, give encoding=")
    if excel := SEP_LINE.match(text):
        # Excel's own first line. A separator that is given wins over it, the line is none of the
        # table all the same.
        made.text = text[excel.end() :]
        made.sep = sep or excel[1]
    elif sep is None:
        made.sep = _separator(text, usual)
    if sep is None and made.sep != usual:
        what = SEPARATORS.get(made.sep, repr(made.sep))
        made.notes.append(
            f"its columns are parted by {what} ({made.sep!r}); where that is wrong, give sep="
        )
    return made


def _separator(text: str, usual: str) -> str:
    """The separator that parts the first records alike; the usual one where it does, or where none
    does.
    """
    good = {}
    for sep in (usual, *SEPARATORS):
        records = _first_records(text, sep)
        counts = {len(record) for record in records}
        if len(counts) == 1 and len(records[0]) > 1:
            # "url;price, EUR": a comma before a space belongs to a name.
            good[sep] = sum(cell.startswith(" ") for cell in records[0])
    # min takes the first of equals, and the usual one is the first.
    return min(good, key=lambda sep: good[sep], default=usual)


def _first_records(text: str, sep: str) -> list[list[str]]:
    """The cells of the first records, the header among them; [] where it is no CSV with this
    separator.
    """
    # newline="": a quoted cell may hold line breaks, and they are the user's.
    lines = io.StringIO(text[:SAMPLE_CHARACTERS], newline="")
    try:
        records = list(islice(csv.reader(lines, delimiter=sep), SAMPLE_RECORDS))
    except csv.Error:
        return []
    return [record for record in records if record]


def column_names(made: Dialect) -> list[str]:
    """The names in the header, as they are written; [] where there is none."""
    # Line by line, so that only the header is parsed: the text may be a gigabyte.
    lines = (match[0] for match in RECORD_LINE.finditer(made.text.lstrip("\r\n")))
    return next(csv.reader(lines, delimiter=made.sep), [])


def text_cells(made: Dialect) -> pa.Table:
    """All rows; every cell is the text that was written, "" where it is empty.

    An empty line is an empty cell where there is one column, else nothing. Columns behind the last
    name that are empty in every row, as Excel leaves them, are left out, and that is noted.
    """
    import pandas as pd  # slow to import, and no worker reads tables

    text = made.text.strip("\r\n")
    is_one_column = len(column_names(made)) == 1
    # The header is read as a row, so that names come as they are, also twice.
    frame = pd.read_csv(
        # surrogatepass: JSON and Excel write half characters, and pandas would stop at them.
        io.BytesIO(text.encode("utf-8", "surrogatepass")),
        sep=made.sep,
        header=None,
        dtype=pd.ArrowDtype(pa.string()),
        # "NA" and "null" are words somebody wrote.
        na_filter=False,
        skip_blank_lines=not is_one_column,
    )
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    names = [column[0].as_py() for column in table.columns]
    table = table.slice(1)
    while (
        len(names) > 1
        and not names[-1]
        and not any(table.column(len(names) - 1).unique().to_pylist())
    ):
        names.pop()
        table = table.select(range(len(names)))
    if len(names) < len(frame.columns):
        made.notes.append(
            f"{len(frame.columns) - len(names)} empty columns without a name are left out"
        )
    if made.sep != ",":
        made.notes += _decimal_commas(names, table)
    return table.rename_columns(names)


def _decimal_commas(names: list[str], table: pa.Table) -> list[str]:
    """A note where a column is numbers with decimal commas: "1,234" could be either, so they stay
    text.
    """
    found = []
    for name, column in zip(names, table.columns, strict=True):
        cells = [cell for cell in column.slice(0, SAMPLE_RECORDS).to_pylist() if cell]
        commas = [cell for cell in cells if DECIMAL_COMMA.fullmatch(cell)]
        if commas and all("," in cell or cell.lstrip("-").isdecimal() for cell in cells):
            found.append(repr(name))
    return (
        [f"numbers with decimal commas stay text, as they are written: {', '.join(found)}"]
        if found
        else []
    )
