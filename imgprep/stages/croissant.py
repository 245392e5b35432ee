"""Croissant 1.0 metadata (docs.mlcommons.org/croissant) of a dataset folder that is elsewhere than on the Hub."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.dataset import Dataset

TERMS = """citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset
    jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField
    transform""".split()
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "dct": "http://purl.org/dc/terms/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in TERMS},
}  # fmt: skip


def write(ds: Dataset, url: str, *, name: str, description: str, license: str) -> dict[str, Any]:
    """Write croissant.json into a dataset folder, for those who find the folder under `url`. Returns what it says.

    It lists the files of the default config with size and sha256, and has a record set for each, called by its split
    (and number, where a split has many): mlcroissant reads no set of Parquet files at once, unless they are in a git.
    A record has the columns of a row, with the picture as sc:ImageObject. license: a URL or an SPDX name.
    """
    files, sets = [], []
    for split in ds.splits:
        mine = [f for f in ds.files if (f["config"], f["split"]) == (ds.configs[0], split)]
        for number, file in enumerate(mine):
            path, called = file["file"], split if len(mine) == 1 else f"{split}-{number:05d}"
            files.append({"@type": "cr:FileObject", "@id": path, "name": path, "sha256": file["sha256"],
                          "contentUrl": f"{url.rstrip('/')}/{path}", "contentSize": f"{file['bytes']} B",
                          "encodingFormat": "application/x-parquet"})  # fmt: skip
            fields = [_field(called, path, column) for column in pq.read_schema(ds._folder.open(path))]
            sets.append({"@type": "cr:RecordSet", "@id": called, "name": called, "field": fields})
    said = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": license,
        "url": url,
        "distribution": files,
        "recordSet": sets,
    }
    ds._folder.put("croissant.json", json.dumps(said, indent=1, ensure_ascii=False).encode())
    return said


def _field(called: str, path: str, column: pa.Field) -> dict[str, Any]:
    kind, word = column.type, "Text"
    while pa.types.is_list(kind):
        kind = kind.value_type
    for name, is_kind in {"Boolean": pa.types.is_boolean, "Integer": pa.types.is_integer, "Float": pa.types.is_floating,
                          "Date": pa.types.is_date, "DateTime": pa.types.is_timestamp}.items():  # fmt: skip
        word = name if is_kind(kind) else word
    source: dict[str, Any] = {"fileObject": {"@id": path}, "extract": {"column": column.name}}
    if column.name == "image":
        word, source["transform"] = "ImageObject", {"jsonPath": "bytes"}
    field = {"@type": "cr:Field", "@id": f"{called}/{column.name}", "name": f"{called}/{column.name}"}
    field |= {"dataType": f"sc:{word}", "source": source}
    return field | ({"repeated": True} if pa.types.is_list(column.type) else {})
