"""A tagged dataset folder with a map opens elsewhere as it is: datasets as the Hub's viewer asks, DuckDB, Lance.

DuckDB is what Embedding Atlas, the Hub's SQL console and its filters read Parquet with. PostgreSQL with pgvector is in
test_search_tables.py.
"""

import json

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imgprep
from imgprep import search, tags
from imgprep.picture import codec
from imgprep.stages import exports

COUNT = 14
MOST_ROW_GROUP = 300_000_000  # bytes: above it the Hub's viewer shows no rows


class Shades:
    """An embedder of brightness and colour."""

    once, version, kind, name, model_version, has_words = True, 1, "shades", "shades", "1", False

    def __call__(self, image):
        mean = np.append(image.reshape(-1, 3).mean(0) / 100, 0.5).astype(np.float32)
        return mean / np.linalg.norm(mean)


def colour_of(image):
    return [{"kind": "colour", "name": ("rosy", "grassy", "azure")[int(image.reshape(-1, 3).mean(0).argmax())]}]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Two pictures cannot be read, and stand in front of others."""
    where = tmp_path_factory.mktemp("elsewhere")
    folder = where / "pictures"
    folder.mkdir()
    for n in range(COUNT):
        colour = np.full(3, 20 + n)
        colour[n % 3] = 110 + 9 * n
        data = codec.encode(np.full((30, 40, 3), colour, np.uint8), "PNG")
        (folder / f"{n:02d}.png").write_bytes(b"no picture" if n in (2, 7) else data)
    with imgprep.session("local", 0):
        found = tags.find(
            str(folder), str(where / "tagged"), taggers=[colour_of, "tone"], embedder=Shades(), max_failed=1.0
        )
        return search.place_on_map(found, str(where / "mapped"), k=3)


def files(ds) -> str:
    return f"{ds.folder}/data/train-*.parquet"


def truth_of(vectors: np.ndarray) -> np.ndarray:
    """(n, 3) the nearest others."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -2)
    return np.argsort(-likeness, axis=1, kind="stable")[:, :3]


def test_the_hubs_viewer_has_all_it_asks_for(mapped, tmp_path):
    """Its workers ask `datasets` for configs, splits, features, and the first rows as a stream."""
    import datasets

    assert datasets.get_dataset_config_names(mapped.folder) == ["default", "failures"]
    assert datasets.get_dataset_split_names(mapped.folder, "default") == ["train"]
    info = datasets.load_dataset_builder(mapped.folder, cache_dir=str(tmp_path)).info
    stream = datasets.load_dataset(mapped.folder, split="train", streaming=True)
    assert stream.features == info.features
    assert isinstance(info.features["image"], datasets.Image)
    rows = list(stream.take(100))
    assert len(rows) == COUNT - 2
    for row in rows:
        assert row.pop("image").size == (40, 30)
        assert json.loads(json.dumps(row)) == row
    failed = datasets.load_dataset(mapped.folder, "failures", split="train", streaming=True)
    assert {row["reason"] for row in failed} == {"not_an_image"}


def test_row_groups_are_as_small_as_the_hubs_viewer_wants_them(mapped):
    for place in duckdb.sql(f"select file from glob('{files(mapped)}')").fetchall():
        file = pq.ParquetFile(place[0])
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            assert group.total_byte_size < MOST_ROW_GROUP
            assert group.column(0).has_offset_index


def test_duckdb_counts_tags_and_reads_pictures(mapped):
    counted = duckdb.sql(
        f"select tag.name, count(*) from (select unnest(tags) as tag from '{files(mapped)}')"
        " where tag.kind = 'colour' group by all order by all"
    ).fetchall()
    assert counted == [("azure", 3), ("grassy", 4), ("rosy", 5)]
    bytes_, width = duckdb.sql(f"select image.bytes, width from '{files(mapped)}' limit 1").fetchall()[0]
    assert codec.decode(bytes_).shape == (30, width, 3)


def test_embedding_atlas_has_its_columns_and_neighbours_are_rows_of_the_file(mapped):
    """x, y, and neighbors {"ids": zero-based rows, "distances"}: what its command line documents.

    Rows that failed stand before others in the input, and are no rows of the file.
    """
    table = duckdb.sql(f"select embedding, x, y, neighbors from '{files(mapped)}'").fetchall()
    vectors = np.array([row[0] for row in table], np.float32)
    assert [row[3]["ids"] for row in table] == truth_of(vectors).tolist()
    for number, (_, x, y, near) in enumerate(table):
        assert 0 <= x <= 1 and 0 <= y <= 1
        assert near["distances"] == sorted(near["distances"])
        likeness = vectors[near["ids"]] @ vectors[number]
        assert near["distances"] == pytest.approx((1 - likeness).tolist(), abs=1e-5)


def test_lance_finds_what_is_near(mapped, tmp_path):
    """Its search wants vectors of a fixed length: one cast, as the docs say."""
    lance = pytest.importorskip("lance")
    exports.export(mapped, str(tmp_path / "lance"), "lance")
    table = lance.dataset(str(tmp_path / "lance/data/train.lance")).to_table()
    vectors = table["embedding"].combine_chunks()
    dim = len(vectors[0])
    fixed = pa.FixedSizeListArray.from_arrays(vectors.flatten(), dim)
    place = table.column_names.index("embedding")
    found = lance.write_dataset(table.set_column(place, "embedding", fixed), str(tmp_path / "near.lance"))
    index = search.build(mapped)
    nearest = truth_of(np.array(vectors.to_pylist(), np.float32))
    ids = table["image_id"].to_pylist()
    for number in (0, 3, 8):
        query = np.array(vectors[number].as_py(), np.float32)
        asked: dict = {"column": "embedding", "q": query, "k": 4, "metric": "cosine"}
        near = found.to_table(columns=["image_id", "_distance"], nearest=asked)["image_id"].to_pylist()
        assert near == [ids[number], *(ids[other] for other in nearest[number])]
        # The index compares bytes first, so close ones may change places.
        assert {*near[1:]} == {*index.search(like=ids[number], n=3).ids}
