"""The columns of the report's tables. To add one, add a line: head, cells and alignment follow."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from imgprep.words import bytes_text

OfRow = Callable[[dict[str, Any]], str]


class Column(NamedTuple):
    """A column of a table: its head, and what it shows of a row."""

    name: str
    cell: OfRow
    is_number: bool = False  # numbers stand on the right
    is_bad: Callable[[dict[str, Any]], bool] | None = None  # what is shown in red


def formatted(key: str, form: str) -> OfRow:
    """A value in a format; "" where there is none."""

    def cell(row: dict[str, Any]) -> str:
        value = row[key]
        return "" if value is None else form.format(value)

    return cell


def whole(key: str) -> OfRow:
    """A whole number with commas; "" where there is none."""
    return formatted(key, "{:,}")


def text(key: str) -> OfRow:
    """The words as they are."""
    return lambda row: str(row[key])


def size(key: str) -> OfRow:
    """Bytes as people write them."""
    return lambda row: bytes_text(row[key])


def score(key: str) -> OfRow:
    """A measure from 0 to 1; "" where there is none."""
    return formatted(key, "{:.3f}")


def engine(row: dict[str, Any]) -> str:
    """What ran, and with how many workers."""
    if not row["workers"]:
        return str(row["engine"])
    return f"{row['engine']} × {row['workers']}"


def day(row: dict[str, Any]) -> str:
    """When a run began, to the minute."""
    started: str = row["started"]
    return started[:16].replace("T", " ")


def rate(row: dict[str, Any]) -> str:
    """Pictures per second."""
    seconds = row["seconds"] or 1
    return f"{row['computed'] / seconds:,.1f}"


def threshold(row: dict[str, Any]) -> str:
    """Where a picture was cut."""
    value = row["threshold"]
    return "" if value is None else str(round(value, 3))


SIZE_COLUMNS = [
    Column("size", text("name")),
    Column("quality", text("quality")),
    Column("pictures", whole("pictures"), is_number=True),
    Column("kept", whole("kept"), is_number=True),
    Column("longest side, median", whole("side"), is_number=True),
    Column("bytes, median", size("median"), is_number=True),
    Column("bytes", size("bytes"), is_number=True),
]
OBJECT_COLUMNS = [
    Column("label", text("label")),
    Column("boxes", whole("boxes"), is_number=True),
    Column("pictures", whole("pictures"), is_number=True),
]
MASK_COLUMNS = [
    Column("picture", text("image_id")),
    Column("pixels", lambda row: f"{row['size'][0]:,} × {row['size'][1]:,}", is_number=True),
    Column("threshold", threshold, is_number=True),
    Column("foreground", lambda row: f"{row['foreground']:.1%}", is_number=True),
    Column("objects", whole("count"), is_number=True),
    Column("tiles", whole("tiles"), is_number=True),
    Column("failed tiles", whole("failed_tiles"), True, lambda row: bool(row["failed_tiles"])),
    Column("IoU", score("iou"), is_number=True),
    Column("F1", score("f1"), is_number=True),
    Column("PQ", score("pq"), is_number=True),
]
RUN_COLUMNS = [
    Column("step", text("name")),
    Column("started (UTC)", day),
    Column("engine", engine),
    Column("seconds", whole("seconds"), is_number=True),
    Column("pictures/s", rate, is_number=True),
    Column("computed", whole("computed"), is_number=True),
    Column("reused", whole("reused"), is_number=True),
    Column("attempts", whole("attempts"), is_number=True),
    Column("bytes", size("bytes"), is_number=True),
]
NOTEBOOK_COLUMNS = [
    Column("notebook", text("notebook")),
    Column("seconds", whole("seconds"), is_number=True),
]


def filled_table(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the template draws: heads, and of each row its cells as {text, right, bad}."""
    lines = []
    for row in rows:
        cells = []
        for column in columns:
            bad = column.is_bad is not None and column.is_bad(row)
            cells.append({"text": column.cell(row), "right": column.is_number, "bad": bad})
        lines.append(cells)
    heads = [{"text": column.name, "right": column.is_number} for column in columns]
    return {"heads": heads, "lines": lines}
