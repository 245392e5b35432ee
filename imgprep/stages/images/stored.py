"""Pictures that are there already, as another dataset folder: of a Ray Dataset, or of a dataset
folder."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.resume import load, make, stage
from imgprep.resume.inputs import Inputs
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.plan import UNIT_ROWS
from imgprep.resume.shape import TAKEN, Shape
from imgprep.resume.source import check_tables, of_rows
from imgprep.resume.work import Work
from imgprep.stages.images.cells import encoded_cell, picture_cells

STAGED = pa.schema([("image", dataset.IMAGE), ("nbytes", pa.int64())])
OF_ROWS = ("file", "row", "sha256", "nbytes")  # what `Dataset.table` says of each row's picture


def write(
    ds: Any,
    out: str,
    *,
    split: str = "train",
    id_column: str | None = None,
) -> Dataset:
    """Write a `ray.data.Dataset` with pictures in a column `image` as a dataset folder, in the
    order it yields them.

    ds: has iter_batches(batch_format="pyarrow"); `image` is encoded bytes, the HF struct {bytes,
        path}, of which a path is read, or arrays (H, W, 3) or (H, W), uint8, which are stored as
        PNG; every other column is kept.
    id_column: names the rows; else a hash of the picture does. ValueError where a row has none.
    """
    staged = Folder(Folder(out).full(".imgprep/staged"))
    tables = list(_staged(ds, staged, id_column))
    if not tables:
        raise ValueError("the dataset has no rows")
    whole = pa.concat_tables(tables, promote_options="default")
    ids = _ids_of(whole, id_column)
    kept = [name for name in whole.column_names if name not in ("image_id", id_column)]
    carried = {"image_id": ids, **{name: whole[name] for name in kept}, "source": [""] * len(ids)}
    rows = of_rows({split: pa.table(carried)})
    found = _rewrite("write", rows, staged, out, make.Original(None, False))
    for number in range(len(tables)):
        staged.delete(_staged_name(number))
    return found


def _staged(
    ds: Any,
    staged: Folder,
    id_column: str | None,
) -> Iterator[pa.Table]:
    """The batches of a Ray Dataset, each with its pictures in a file and where they stand."""
    # As many as a unit has: a worker then reads one file.
    batches = ds.iter_batches(batch_format="pyarrow", batch_size=UNIT_ROWS)
    for number, table in enumerate(batches):
        for name in ("image", id_column):
            if name and name not in table.column_names:
                has = ", ".join(table.column_names)
                raise ValueError(f"no column {name!r}; this dataset has: {has}")
        data = [encoded_cell(cell) for cell in picture_cells(table["image"])]
        _stage(staged, _staged_name(number), data)
        own = [name for name in table.column_names if name not in (*dataset.COLUMNS, *TAKEN)]
        table = table.select(own)
        place = {
            "file": [_staged_name(number)] * len(data),
            "row": range(len(data)),
            "nbytes": [len(one) for one in data],
            "sha256": [hashlib.sha256(one).hexdigest() for one in data],
        }
        for name, values in place.items():
            table = table.append_column(name, pa.array(values))
        yield table


def _staged_name(number: int) -> str:
    return f"{number:05d}.parquet"


def _stage(
    staged: Folder,
    name: str,
    data: list[bytes],
) -> None:
    images = [{"bytes": one, "path": ""} for one in data]
    sizes = [len(one) for one in data]
    with staged.create(lambda _: name) as sink:
        file = dataset.Writer(sink, STAGED)
        file.write(pa.table([images, sizes], schema=STAGED))
        file.close()


def _ids_of(rows: pa.Table, id_column: str | None) -> list[str]:
    """What names each row: -2 behind what appears for the second time."""
    names = rows[id_column or "sha256"].cast(pa.string()).to_pylist()
    if None in names:
        raise ValueError(f"row {names.index(None) + 1} has no {id_column!r}, which id_column names")
    seen: Counter[str] = Counter()
    ids = []
    for name in names:
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids


def copy(
    source: str | Dataset,
    tables: dict[str, pa.Table],
    out: str,
) -> Dataset:
    """Rows of a dataset folder as another one: with other splits, labels or columns, or fewer rows.

    tables: split -> rows of `source.table(…)`, with its columns and best in its order.
    Pictures are copied as they are, and outcomes kept; bytes of formats that cannot be opened
    (`original`) are not.
    """
    ds = dataset.open(source)
    check_tables(tables)
    if Folder(out).path == ds.folder:
        raise ValueError(f"{out!r} is the source itself: name another folder")
    # Two are the ok rows and the failures; more are sizes, which are children of pictures.
    if len(ds.configs) > 2:
        fix = "copy what it was made from, and make them again"
        raise ValueError(f"{ds.folder} has several sizes: {fix}")
    for table in tables.values():
        for name in OF_ROWS:
            if name not in table.column_names:
                fix = "give rows as Dataset.table gives them"
                raise ValueError(f"the tables have no column {name!r}: {fix}")
    return _rewrite("copy", of_rows(tables), Folder(ds.folder), out, make.unchanged)


def _rewrite(
    name: str, inputs: dict[str, Inputs], stored: Folder, out: str, keep: Callable
) -> Dataset:
    writer = PartWriter(Folder(out), part_schema(pa.schema([])))
    plan = stage.Stage(
        name=name,
        options={},
        operation={"stage": name},
        inputs=inputs,
        work=Work(writer, load.Stored(stored), keep),
        shape=Shape(pa.schema([])),
    )
    # max_failed=1.0: what failed before is copied as it was.
    found = stage.build(plan, out, max_failed=1.0)
    # A session of a dry run writes nothing.
    return found if found is not None else Dataset(out)
