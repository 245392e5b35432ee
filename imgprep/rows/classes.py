"""Classes of several sources as one list: a number means the same name in every split."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.rows import column_types
from imgprep.rows.opened import Opened


def align_classes(inputs: list[Opened]) -> None:
    """Make a column that is a ClassLabel in one input the same ClassLabel in all, by its names.

    The names of the first input come first, new ones behind them; text is taken for names.
    ValueError where an input has numbers without names, or other classes inside lists and structs.
    """
    # Over all inputs: a column may begin in the last of them.
    columns = dict.fromkeys(name for one in inputs for name in one.features)
    for column in columns:
        having = [one for one in inputs if column in one.table.column_names]
        labelled = [one for one in having if _is_label(one.features.get(column))]
        if labelled:
            _align(column, having, labelled)
        else:
            _refuse_other_nested(column, having)
        _share_feature(column, inputs, having)


def _align(column: str, having: list[Opened], labelled: list[Opened]) -> None:
    known: list[str] = []
    for one in labelled:
        names = one.features[column].names
        if names is None:
            raise ValueError(f"the classes of column {column!r} in {one.where} have no names")
        # In the order of their first appearance, so that
        # numbers of the first input stay what they are.
        known += [name for name in names if name not in known]
    is_one_list = all(one.features[column].names == known for one in labelled)
    if is_one_list and len(labelled) == len(having):
        return
    for one in having:
        if one not in labelled:
            found = _text_classes(one, column, labelled[0])
            known += [name for name in found if name not in known]
    feature = type(labelled[0].features[column])(names=known)
    for one in having:
        place = one.table.column_names.index(column)
        one.table = one.table.set_column(place, column, _numbers_of(one, column, known))
        one.features[column] = feature
        # Numbers from here on, also in a CSV.
        one.typed_here.add(column)


def _text_classes(one: Opened, column: str, other: Opened) -> list[str]:
    """The names that stand in a column of text, sorted."""
    cells = one.table[column]
    found: set[str] = set()
    is_number = not column_types.is_text_type(cells.type) and not pa.types.is_null(cells.type)
    # A column of text without anything in it says nothing against names.
    if not is_number:
        found = {str(name).strip() for name in cells.unique().to_pylist()} - {"", "None"}
        is_number = one.is_text and bool(found) and all(name.isdecimal() for name in found)
    if is_number:
        raise ValueError(
            f"column {column!r} holds numbers in {one.where} and classes with names in "
            f"{other.where}: give the names in both"
        )
    return sorted(found)


def _numbers_of(one: Opened, column: str, known: list[str]) -> pa.ChunkedArray:
    """The column as places in the list of all classes; null where there is no class."""
    cells = one.table[column]
    if not _is_label(one.features.get(column)):
        names = pc.utf8_trim_whitespace(cells.cast(pa.string()))
        return pc.index_in(names, pa.array(known)).cast(pa.int64())
    own = one.features[column].names
    places = pa.array([known.index(name) for name in own], pa.int64())
    # -1 is what `datasets` writes for a row without a class.
    is_class = pc.and_(pc.greater_equal(cells, 0), pc.less(cells, len(own)))
    numbers = pc.if_else(is_class, cells, None)
    return pc.take(pa.chunked_array([places]), numbers.cast(pa.int64()))


def _refuse_other_nested(column: str, having: list[Opened]) -> None:
    """ValueError where lists or structs have classes inside that are others in each input."""
    # Numbers inside lists cannot be mended in place, as those of a column are.
    for one in having[1:]:
        here, there = having[0].features.get(column), one.features.get(column)
        has_classes = "ClassLabel" in f"{here!r} {there!r}"
        if here != there and has_classes:
            raise ValueError(
                f"column {column!r} has classes inside, others in {having[0].where} than in "
                f"{one.where}: write one list of names in both"
            )


def _share_feature(column: str, inputs: list[Opened], having: list[Opened]) -> None:
    """Of a split without the column, which is null there, the feature is that of the others."""
    features = [one.features[column] for one in having if column in one.features]
    for one in inputs:
        if features and one not in having:
            one.features[column] = features[0]


def _is_label(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"
