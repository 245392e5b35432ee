"""The ok pictures of a dataset folder in other formats, each opened by `datasets` with equal rows.

Written a row group at a time, whatever the dataset's size, beside its place and then moved there.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.dataset import MANIFEST, Dataset
from imgprep.dataset.files import Folder
from imgprep.rows.labels import EXTENSIONS, stems
from imgprep.stages.publish.shards import groups

MARK = ".imgprep-export"  # in every export: of which version of which dataset it is
Files = dict[str, list[str]]  # of each split


def export(ds: Dataset, folder: str, form: str, *, config: str | None = None) -> str:
    """Write a config of `ds` (None: the default one) into a local folder, in one of four forms. Returns the folder.

    "disk": what `save_to_disk` writes, for `load_from_disk`; nothing is lost.
    "lance": data/<split>.lance, for `load_dataset` and `lance.dataset`; nothing is lost (`pip install imgprep[lance]`).
    "imagefolder": a file per picture and metadata.parquet, for up to some 10,000 pictures. A column whose name ends in
        file_name, which `datasets` would take for pictures, ends in filename.
    "webdataset": data/<split>-000000.tar with <id>.jpg (or as the first picture is; Pillow goes by the bytes) and
        <id>.json, in which dates, times and decimals are text and columns of bytes are left out.
    An export of the same version is left alone, an older one is replaced; ValueError where a folder holds other files.
    """
    if form not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}, not {form!r}")
    target = Folder(folder)
    if target.remote:
        raise ValueError(f"{folder} is on a store: export into a local folder, then copy that")
    config = config or ds.configs[0]
    files = {s: [f["file"] for f in ds.files if (f["config"], f["split"]) == (config, s)] for s in ds.splits}
    files = {split: names for split, names in files.items() if names}
    if not files:
        raise ValueError(f"{ds.folder} has no pictures in the config {config!r}; it has: {', '.join(ds.configs)}")
    mark = hashlib.sha256(f"{form} {config} ".encode() + (ds._folder.get(MANIFEST) or b"")).hexdigest().encode()
    if (before := target.get(MARK)) == mark:
        return folder
    if before is None and os.path.exists(target.path) and (os.path.isfile(target.path) or os.listdir(target.path)):
        raise ValueError(f"{target.path} holds files that no export wrote: name another folder")

    def read(names: list[str], columns: list[str] | None = None) -> Iterator[pa.Table]:
        return itertools.chain.from_iterable(groups(ds._folder, name, columns) for name in names)

    with _beside(target.path) as holder:
        schema = pq.read_schema(ds._folder.open(next(iter(files.values()))[0]))
        FORMS[form](read, files, schema, f"{holder}/new")
        Folder(f"{holder}/new").put(MARK, mark)
        if os.path.isdir(target.path):
            os.rename(target.path, f"{holder}/old")
        os.rename(f"{holder}/new", target.path)
    return folder


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """A folder beside `path`, gone in the end; so are those that killed exports left."""
    home, start = os.path.dirname(path), f".export-{os.path.basename(path)}-"
    os.makedirs(home, exist_ok=True)
    for left in [name for name in os.listdir(home) if re.fullmatch(re.escape(start) + r"\d+", name)]:
        if not psutil.pid_exists(int(left.removeprefix(start))):
            shutil.rmtree(f"{home}/{left}")
    holder = f"{home}/{start}{os.getpid()}"
    os.makedirs(f"{holder}/new")
    try:
        yield holder
    finally:
        shutil.rmtree(holder)


def _disk(read: Callable, files: Files, schema: pa.Schema, out: str) -> None:
    from datasets import DatasetInfo, Features

    for split, names in files.items():
        shards = [f"data-{i:05d}-of-{len(names):05d}.arrow" for i in range(len(names))]
        os.makedirs(f"{out}/{split}")
        for shard, name in zip(shards, names, strict=True):
            with pa.OSFile(f"{out}/{split}/{shard}", "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
                for table in read([name]):
                    stream.write_table(table)
        DatasetInfo(features=Features.from_arrow_schema(schema)).write_to_directory(f"{out}/{split}")
        state = {"_data_files": [{"filename": shard} for shard in shards], "_split": split}
        state |= {"_fingerprint": hashlib.sha256("".join(names).encode()).hexdigest()[:16]}
        state |= {"_format_type": None, "_format_columns": None, "_format_kwargs": {}, "_output_all_columns": False}
        Folder(out).put(f"{split}/state.json", json.dumps(state, indent=2).encode())
    Folder(out).put("dataset_dict.json", json.dumps({"splits": [*files]}).encode())


def _lance(read: Callable, files: Files, schema: pa.Schema, out: str) -> None:
    try:
        import lance
    except ImportError:
        raise ValueError("an export to Lance needs `pip install imgprep[lance]`") from None
    for split, names in files.items():
        batches = (batch for table in read(names) for batch in table.to_batches(max_chunksize=1000))
        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches), f"{out}/data/{split}.lance")
    _card(out, {split: f"data/{split}.lance/**" for split in files}, schema)


def _imagefolder(read: Callable, files: Files, schema: pa.Schema, out: str) -> None:
    from datasets import Features, Value

    features = Features.from_arrow_schema(schema)
    names = {n: re.sub(r"(^|_)file_(names?)$", r"\1file\2", n) for n in features if n != "image"}
    plain = Features({"file_name": Value("string"), **{new: features[n] for n, new in names.items()}}).arrow_schema
    for split, sources in files.items():
        paths = iter(stems([i for table in read(sources, ["image_id"]) for i in table["image_id"].to_pylist()]))
        os.makedirs(f"{out}/{split}")
        with pq.ParquetWriter(f"{out}/{split}/metadata.parquet", plain) as metadata:
            for table in read(sources):
                called = []
                for kind, image in zip(table["format"].to_pylist(), table["image"].to_pylist(), strict=True):
                    name = f"{next(paths)}.{_ending(kind)}"
                    called.append(name if image else None)  # none: it is an `original` that Pillow cannot open
                    if image:
                        Path(out, split, name).write_bytes(image["bytes"])
                columns = [pa.array(called, pa.string()), *(table[name] for name in names)]
                metadata.write_table(pa.table(columns, schema=plain))
    _card(out, {split: f"{split}/**" for split in files})


def _webdataset(read: Callable, files: Files, schema: pa.Schema, out: str) -> None:
    from datasets import Features, Image, Value

    features = Features.from_arrow_schema(schema)
    leaves = {f.name: _leaves(f.type) for f in schema if f.name != "image"}
    kept = [name for name, kinds in leaves.items() if not any("binary" in str(kind) for kind in kinds)]
    is_text = {n: any(pa.types.is_temporal(k) or pa.types.is_decimal(k) for k in leaves[n]) for n in kept}
    row = {name: Value("string") if is_text[name] else features[name] for name in kept}
    ending = _ending(next(read(next(iter(files.values())), ["format"]))["format"][0].as_py())
    os.makedirs(f"{out}/data")
    for split, number, name in [(s, i, name) for s, names in files.items() for i, name in enumerate(names)]:
        with tarfile.open(f"{out}/data/{split}-{number:06d}.tar", "w") as tar:
            for table in read([name]):
                keys, images = stems(table["image_id"].to_pylist()), table["image"].to_pylist()
                for key, image, cells in zip(keys, images, table.select([*row]).to_pylist(), strict=True):
                    text = json.dumps(cells, ensure_ascii=False, default=str).encode()
                    for kind, data in ((ending, image and image["bytes"]), ("json", text)):
                        if data is not None:
                            entry = tarfile.TarInfo(f"{key}.{kind}")
                            entry.size = len(data)
                            tar.addfile(entry, io.BytesIO(data))
    whole = {ending: Image(), "json": row, "__key__": Value("string"), "__url__": Value("string")}
    _card(out, {split: f"data/{split}-*.tar" for split in files}, Features(whole).arrow_schema)


FORMS = {"disk": _disk, "imagefolder": _imagefolder, "lance": _lance, "webdataset": _webdataset}


def _card(out: str, paths: dict[str, str], schema: pa.Schema | None = None) -> None:
    """README.md: which files are which split, and of which features."""
    from datasets import Features
    from huggingface_hub import DatasetCardData

    data_files = [{"split": split, "path": path} for split, path in paths.items()]
    info = {"dataset_info": {"features": Features.from_arrow_schema(schema)._to_yaml_list()}} if schema else {}
    meta = DatasetCardData(configs=[{"config_name": "default", "data_files": data_files}], **info)
    Folder(out).put("README.md", f"---\n{meta.to_yaml()}\n---\n".encode())


def _ending(kind: str) -> str:
    return EXTENSIONS.get(kind, kind.lower())


def _leaves(kind: pa.DataType) -> set[pa.DataType]:
    """The types at the ends of a type."""
    if not pa.types.is_nested(kind):
        return {kind}
    return set().union(*(_leaves(kind.field(i).type) for i in range(kind.num_fields)))
