"""The formats of `exports`, one writer each: Arrow on disk, Lance, a folder of files, tar files."""

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.dataset.names import ENDING_OF, stems
from imgprep.stages.publish.shards import groups
from imgprep.words import extra


@dataclass(frozen=True)
class Content:
    """What is exported: the data files of each split, and the schema that they share."""

    folder: Folder
    files: dict[str, list[str]]
    schema: pa.Schema

    @staticmethod
    def of(ds: Dataset, config: str) -> "Content":
        """A config of a dataset folder. ValueError where it has no pictures."""
        files: dict[str, list[str]] = {}
        for split in ds.splits:
            names = [f["file"] for f in ds.files if (f["config"], f["split"]) == (config, split)]
            if names:
                files[split] = names
        if not files and config in ds.configs:
            raise ValueError(f"{ds.folder} has no row that is ok in the config {config!r}")
        if not files:
            told = f"{ds.folder} has no config {config!r}"
            raise ValueError(f"{told}; it has: {', '.join(ds.configs)}")
        folder = Folder(ds.folder)
        first = next(iter(files.values()))[0]
        return Content(folder, files, pq.read_schema(folder.open(first)))

    def features(self) -> dict[str, Any]:
        """The columns as `datasets` declares them."""
        from datasets import Features

        return Features.from_arrow_schema(self.schema)

    def tables(self, split: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The row groups of a split, one at a time."""
        for name in self.files[split]:
            yield from groups(self.folder, name, columns)

    def ending(self) -> str:
        """The ending of the first picture's file name."""
        split = next(iter(self.files))
        first = next(self.tables(split, ["format"]))
        return _ending(first["format"][0].as_py())


# Arrow on disk ------------------------------------------------------------------------------------


def write_disk(content: Content, out: str) -> None:
    """`save_to_disk` of `datasets` itself, from an Arrow file beside it."""
    import datasets

    parts = {}
    for split, names in content.files.items():
        stream = f"{os.path.dirname(out)}/{split}.arrow"
        with pa.OSFile(stream, "wb") as sink, pa.ipc.new_stream(sink, content.schema) as writer:
            for table in content.tables(split):
                writer.write_table(table)
        ds = datasets.Dataset.from_file(stream, split=datasets.NamedSplit(split))
        # Its own would depend on when the file was written, and two exports would differ.
        fingerprint = hashlib.sha256("".join(names).encode()).hexdigest()[:16]
        parts[split] = datasets.Dataset(ds.data, ds.info, ds.split, fingerprint=fingerprint)
    shards = {split: len(names) for split, names in content.files.items()}
    with _no_bars():
        datasets.DatasetDict(parts).save_to_disk(out, num_shards=shards)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """`datasets` draws no progress bars."""
    import datasets

    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


# Lance --------------------------------------------------------------------------------------------


def write_lance(content: Content, out: str) -> None:
    """A Lance dataset for each split."""
    try:
        import lance
    except ImportError:
        raise ValueError(f"an export to Lance needs `{extra('lance')}`") from None
    for split in content.files:
        batches = (batch for table in content.tables(split) for batch in table.to_batches(1000))
        reader = pa.RecordBatchReader.from_batches(content.schema, batches)
        lance.write_dataset(reader, f"{out}/data/{split}.lance")
    paths = {split: f"data/{split}.lance/**" for split in content.files}
    _put_card(out, paths, content.schema)


# A folder of files --------------------------------------------------------------------------------


def write_imagefolder(content: Content, out: str) -> None:
    """A file for each picture, and metadata.parquet beside them."""
    from datasets import Features, Value

    features = content.features()
    kept = [name for name in features if name != "image"]
    # `datasets` takes every column called *_file_name for pictures.
    called = {name: re.sub(r"(^|_)file_(names?)$", r"\1file\2", name) for name in kept}
    declared = {"file_name": Value("string")} | {called[name]: features[name] for name in kept}
    schema = Features(declared).arrow_schema
    for split in content.files:
        ids: list[str] = []
        for table in content.tables(split, ["image_id"]):
            ids += table["image_id"].to_pylist()
        names = iter(stems(ids))
        os.makedirs(f"{out}/{split}")
        with pq.ParquetWriter(f"{out}/{split}/metadata.parquet", schema) as metadata:
            for table in content.tables(split):
                files = _write_pictures(table, names, Path(out, split))
                columns = [pa.array(files, pa.string()), *(table[name] for name in kept)]
                metadata.write_table(pa.table(columns, schema=schema))
    _put_card(out, {split: f"{split}/**" for split in content.files})


def _write_pictures(
    table: pa.Table,
    stems: Iterator[str],
    folder: Path,
) -> list[str | None]:
    """A file for each row; their names, None for an `original` that Pillow cannot open."""
    names: list[str | None] = []
    for kind, image in zip(table["format"].to_pylist(), table["image"].to_pylist(), strict=True):
        name = f"{next(stems)}.{_ending(kind)}"
        if image:
            (folder / name).write_bytes(image["bytes"])
        names.append(name if image else None)
    return names


# Tar files ----------------------------------------------------------------------------------------


def write_webdataset(content: Content, out: str) -> None:
    """A tar for each data file, with a picture and a JSON for each row."""
    from datasets import Features, Image, Value

    cells = _json_features(content)
    ending = content.ending()
    os.makedirs(f"{out}/data")
    for split, names in content.files.items():
        for number, name in enumerate(names):
            with tarfile.open(f"{out}/data/{split}-{number:06d}.tar", "w") as tar:
                for table in groups(content.folder, name):
                    _add_rows(tar, table, [*cells], ending)
    whole = {ending: Image(), "json": cells, "__key__": Value("string"), "__url__": Value("string")}
    paths = {split: f"data/{split}-*.tar" for split in content.files}
    _put_card(out, paths, Features(whole).arrow_schema)


def _json_features(content: Content) -> dict[str, Any]:
    """The columns that JSON can hold, as they come back from it."""
    from datasets import Value

    features = content.features()
    found = {}
    for field in content.schema:
        kinds = _leaves(field.type)
        if field.name == "image" or any("binary" in str(kind) for kind in kinds):
            continue
        is_text = any(pa.types.is_temporal(kind) or pa.types.is_decimal(kind) for kind in kinds)
        found[field.name] = Value("string") if is_text else features[field.name]
    return found


def _add_rows(
    tar: tarfile.TarFile,
    table: pa.Table,
    columns: list[str],
    ending: str,
) -> None:
    keys = stems(table["image_id"].to_pylist())
    images = table["image"].to_pylist()
    rows = table.select(columns).to_pylist()
    for key, image, row in zip(keys, images, rows, strict=True):
        if image:
            _add_file(tar, f"{key}.{ending}", image["bytes"])
        text = json.dumps(row, ensure_ascii=False, default=str)
        _add_file(tar, f"{key}.json", text.encode())


def _add_file(
    tar: tarfile.TarFile,
    name: str,
    data: bytes,
) -> None:
    # Without a time, owner or mode: two exports of one version are the same bytes.
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


# What they share ----------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Content, str], None]] = {
    "disk": write_disk,
    "imagefolder": write_imagefolder,
    "lance": write_lance,
    "webdataset": write_webdataset,
}


def _put_card(
    out: str,
    paths: dict[str, str],
    schema: pa.Schema | None = None,
) -> None:
    """README.md: which files are which split, and of which features."""
    from datasets import Features
    from huggingface_hub import DatasetCardData

    data_files = [{"split": split, "path": path} for split, path in paths.items()]
    info: dict[str, Any] = {}
    if schema is not None:
        info["dataset_info"] = {"features": Features.from_arrow_schema(schema)._to_yaml_list()}
    meta = DatasetCardData(configs=[{"config_name": "default", "data_files": data_files}], **info)
    Folder(out).put("README.md", f"---\n{meta.to_yaml()}\n---\n".encode())


def _ending(kind: str) -> str:
    return ENDING_OF.get(kind, kind.lower())


def _leaves(kind: pa.DataType) -> set[pa.DataType]:
    """The types at the ends of a type."""
    if not pa.types.is_nested(kind):
        return {kind}
    found: set[pa.DataType] = set()
    for number in range(kind.num_fields):
        found |= _leaves(kind.field(number).type)
    return found
