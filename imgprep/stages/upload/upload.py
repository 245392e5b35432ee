"""The verb: pictures go into an object store, and a dataset says where each one is."""

import os
from collections import Counter
from dataclasses import replace

import pyarrow as pa

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.display.pictures import public_text as shown
from imgprep.engine.progress import tell_while
from imgprep.resume import stage
from imgprep.resume.inputs import Inputs
from imgprep.resume.options import check_max_bytes, run_options
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.source import open_source
from imgprep.stages.upload.naming import PICTURE, check_picture_names, picture_names, sizes_column
from imgprep.stages.upload.places import place_and_name, put_indexes
from imgprep.stages.upload.targets import check_target_apart, stores_of, whole_target
from imgprep.stages.upload.unit import UploadUnit
from imgprep.words import number_of, say

OF_OBJECT = pa.schema([("uri", pa.string()), ("etag", pa.string())])


def upload(
    source: str | Dataset,
    target: str,
    out: str,
    *,
    names: str = "content",
    credentials_env: str | None = None,
    max_bytes: int | None = None,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    refresh: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Put every ok picture of a dataset folder into an object store; `out` says where each one is.

    target: az://container/prefix, s3://bucket/prefix, gs://bucket/prefix or a folder. "{variant}"
        in it is the size (az://gallery-{variant}: a container for each); without it each size has
        its own prefix.
    out: the rows of source without their pictures, a config per size, and `uri` (for fsspec),
        `etag`.
    names: "content": an object is called by the sha256 of its bytes, so equal pictures are one, and
        none is ever replaced. "picture": by the image_id (under the split, where there are
        several); other bytes are replaced, and index.jsonl in each place says which picture each
        object is of. `orphans` lists what no row names.
    max_bytes: pictures of more are left out, as rows that say so; None: 64 MiB of what is fetched
        or read, any of a dataset folder. Raised, it tries those again, and nothing else.
    credentials_env: see `store.Store`. retry_failed: try the failures of earlier runs again.
        refresh: ask the store for every object again, and put back what is missing.
    Containers are created private where they are missing. Nothing is deleted. A run that is cut
    goes on where it was.
    Raises ValueError for a wrong name, StoreError for credentials or a public container, RunStopped
    where none answers.
    """
    run = run_options(
        batch_size=batch_size,
        retry_failed=retry_failed,
        refresh=refresh,
        max_failed=max_failed,
        dry_run=dry_run,
    )
    check_max_bytes(max_bytes)
    check_picture_names(names)
    if isinstance(source, str | os.PathLike) and dataset.exists(os.fspath(source)):
        source = dataset.open(os.fspath(source))
    given = open_source(source, out, new=OF_OBJECT.names, max_bytes=max_bytes)
    inputs = {split: _with_sizes(one) for split, one in given.inputs.items()}
    if names == PICTURE:
        inputs = _with_object_names(inputs)
    sizes = _sizes_in(inputs)
    whole = whole_target(target, sizes)
    stores = stores_of(whole, sizes, credentials_env)
    check_target_apart(stores.values(), source, out)
    operation = {"stage": "upload", "target": whole}  # another size is no other target
    options = {"target": whole if "://" in whole else os.path.basename(whole)}
    if names == PICTURE:
        operation["names"] = options["names"] = names
    work = UploadUnit(
        PartWriter(Folder(out), part_schema(OF_OBJECT)),
        given.load,
        stores,
    )
    configs = source.configs if isinstance(source, Dataset) else ["default"]
    wanted = stage.Stage(
        name="upload",
        options=options,
        operation=operation,
        inputs=inputs,
        earlier=given.earlier,
        circumstances={"max_bytes": max_bytes},
        can_retry=True,
        work=work,
        shape=Shape(OF_OBJECT, configs=tuple(c for c in configs if c != "failures")),
        ready=work.ready,
    )
    found = stage.build(wanted, out, **run)
    if found is not None:
        if names == PICTURE:
            with tell_while("upload: writing the index"):
                put_indexes(found, credentials_env=credentials_env)
        say(f"upload: {_where_they_are(found)}")
    return found


def _with_sizes(inputs: Inputs) -> Inputs:
    """The rows with the size that each picture is; only those that are ok are uploaded."""
    rows = inputs.rows
    sizes = sizes_column(rows)
    is_ok = [True] * rows.num_rows
    if "status" in rows.column_names:
        is_ok = [status == "ok" for status in rows["status"].to_pylist()]
    named = []
    for sha, size, ok in zip(inputs.identity, sizes.to_pylist(), is_ok, strict=True):
        # The size is in it: the same bytes may go to several places.
        named.append(f"{size}/{sha}" if sha and ok else None)
    return replace(inputs.keyed_by(named), columns={"variant": sizes})


def _with_object_names(inputs: dict[str, Inputs]) -> dict[str, Inputs]:
    """The rows with the name of each object, which is part of what a result depends on."""
    found = {}
    for split, names in picture_names(inputs).items():
        one = inputs[split]
        keys = []
        for identity, name in zip(one.identity, names.to_pylist(), strict=True):
            keys.append(identity and f"{identity}/{name}")
        columns = {**one.columns, "name": names}
        found[split] = replace(one.keyed_by(keys), columns=columns)
    return found


def _sizes_in(inputs: dict[str, Inputs]) -> list[str]:
    found: dict[str, None] = {}
    for one in inputs.values():
        found |= dict.fromkeys(one.columns["variant"].drop_null().unique().to_pylist())
    return list(found)


def _where_they_are(ds: Dataset) -> str:
    """How many pictures are where."""
    places: Counter = Counter()
    for split in ds.splits:
        for uri in ds.table(split, ["uri"])["uri"].drop_null().to_pylist():
            places[place_and_name(uri)[0]] += 1
    parts = []
    for place, n in places.items():
        parts.append(f"{number_of(n, 'picture')} in {shown(place)}")
    return ", ".join(parts) or "no picture"
