"""What every dataset's rows look like: the columns we add, and one Arrow schema with the features of `datasets`."""

import json
from typing import Any

import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# What every dataset has behind the user's own columns, in this order.
COLUMNS = {
    "source": pa.string(),
    "image": IMAGE,
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
    "nbytes": pa.int64(),
    "sha256": pa.string(),
    "status": pa.string(),
    "reason": pa.string(),
    "error": pa.string(),
}


def schema_of(user: pa.Schema, extra: pa.Schema, *, children: bool = False) -> pa.Schema:
    """The one schema of a dataset: image_id, the user's columns, COLUMNS, a stage's own, all as HF features.

    children: with `parent_id` and `index` behind them. ValueError where `datasets` has no such column.
    """
    from datasets import Features, Image

    ours = [pa.field(name, kind) for name, kind in COLUMNS.items()]
    # The order of names is part of the bytes.
    fields = [pa.field("image_id", pa.string()), *user, *ours, *extra]
    if children:
        fields += [pa.field("parent_id", pa.string()), pa.field("index", pa.int32())]
    # Without metadata: what other tools left there would make two equal datasets differ.
    plain = pa.schema([f.remove_metadata() for f in fields], metadata=None)
    features = {f.name: _feature(f) for f in plain if f.name != "image"}
    for declared in (user, extra):
        features.update(_declared(declared, plain.names))
    features["image"] = Image()
    return Features({f.name: features[f.name] for f in plain}).arrow_schema


def _declared(schema: pa.Schema, names: list[str]) -> dict[str, Any]:
    """ClassLabel, Sequence … as they were declared."""
    from datasets import Features

    known = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    if not known:
        return {}
    features = Features.from_arrow_schema(schema)
    return {name: feature for name, feature in features.items() if name in names}


def _feature(field: pa.Field) -> Any:
    """The feature of a plain column. ValueError where there is none."""
    from datasets import Features

    # The views of newer Arrow are unknown to `datasets`; they hold the same.
    shortened = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    kind = shortened.get(field.type, field.type)
    try:
        if field.name == "_type":  # what `datasets` itself marks a feature with
            raise ValueError("a word of its own")
        return Features.from_arrow_schema(pa.schema([(field.name, kind)]))[field.name]
    except ValueError as e:
        what = f"column {field.name!r} holds {field.type}"
        why = f"`datasets` has no such column ({e})"
        raise ValueError(f"{what}: {why}; rename, convert or leave it out") from None


def with_original(schema: pa.Schema) -> pa.Schema:
    """The schema of `failures` where bytes that Pillow cannot open are kept."""
    from datasets import Features, Value

    features = Features.from_arrow_schema(schema)
    return Features({**features, "original": Value("binary")}).arrow_schema
