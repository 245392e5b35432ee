"""A source that was opened: its rows, and where their pictures are."""

import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from imgprep import words

HF_METADATA = b"huggingface"


@dataclass
class Opened:
    """The rows of one split. A folder knows its sources at once; in a table they follow from the
    url_column.
    """

    where: str
    table: pa.Table
    root: str = ""
    source: Any = None
    name: Any = (
        None  # what image_id is a hash of: does not change when a folder moves or a signature ends
    )
    ids: Any = None  # of a Hugging Face dataset that imgprep made
    features: dict[str, Any] = field(
        default_factory=dict
    )  # of a Hugging Face dataset (ClassLabel …)
    is_text: bool = False  # the cells are text without types
    typed_here: set[str] = field(
        default_factory=set
    )  # columns of text that became numbers of classes
    picture_column: str = ""  # what the pictures were taken from; it is no column of the table

    def known(self) -> list[str]:
        """The columns that there are or were."""
        names = list(self.table.column_names)
        return [*names, self.picture_column] if self.picture_column else names


def filled(where: str, table: pa.Table, what: str = "rows") -> pa.Table:
    """The table, or ValueError where it is empty."""
    if not table.num_rows:
        raise ValueError(f"{where} has no {what}")
    return table


def features_of(table: pa.Table) -> dict[str, Any]:
    """The Hugging Face features that a table's schema declares; {} where it declares none."""
    if HF_METADATA not in (table.schema.metadata or {}):
        return {}
    # It takes seconds to import.
    from datasets import Features

    return dict(Features.from_arrow_schema(table.schema))


def check_column(name: str, inputs: list[Opened]) -> None:
    """ValueError where none of the inputs has this column."""
    columns = list(dict.fromkeys(column for one in inputs for column in one.known()))
    if name not in columns:
        raise ValueError(words.no_column(name, columns, ", ".join(one.where for one in inputs)))


def is_hub_name(where: str) -> bool:
    """Could this be "owner/name" on the Hub?"""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", where) is not None
