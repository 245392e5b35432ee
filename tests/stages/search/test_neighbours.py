"""Duplicates, odd ones, wrong labels and a map, of pictures made so that each is known."""

import numpy as np
import pytest

from imgprep import search, sources, tags
from imgprep.picture import codec
from imgprep.stages.search.neighbours import nearest_rows


class Colours:
    once, version, kind, name, model_version, has_words = True, 1, "colours", "colours", "1", False

    def __call__(self, image):
        mean = image.reshape(-1, 3).mean(0) - 60
        return (mean / np.linalg.norm(mean)).astype(np.float32)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    where = tmp_path_factory.mktemp("near")
    random = np.random.default_rng(0)
    lines = ["path,label"]
    for n in range(24):
        colour = np.array([180, 30, 30] if n % 2 else [30, 30, 180]) + random.integers(-25, 25, 3)
        colour = np.array([30, 220, 30]) if n == 20 else colour
        (where / f"p{n:02d}.png").write_bytes(codec.encode(np.full((8, 8, 3), colour, np.uint8), "PNG"))
        label = ("blue" if n % 2 else "red") if n == 5 else ("red" if n % 2 else "blue")
        lines.append(f"{where}/p{n:02d}.png,{label}")
    (where / "t.csv").write_text("\n".join(lines))
    found = sources.read({"train": str(where / "t.csv")}, url_column="path")
    return tags.find(found, str(where / "tagged"), taggers=["tone"], embedder=Colours())


def test_nearest_rows_are_the_nearest_and_never_the_row_itself():
    vectors = np.random.default_rng(0).normal(size=(2_100, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, likeness = nearest_rows(vectors, 5)
    exact = vectors @ vectors.T - 4 * np.eye(len(vectors), dtype=np.float32)
    assert (np.sort(ids[:50], 1) == np.sort(np.argsort(-exact[:50], 1)[:, :5], 1)).all()
    assert (np.diff(likeness, axis=1) <= 0).all()
    assert nearest_rows(vectors[:1], 5)[0].shape == (1, 0)


def test_the_odd_one_and_the_wrong_label_are_found(tagged):
    table = tagged.table("train", ["image_id", "source"]).to_pylist()
    names = {row["image_id"]: row["source"].rpartition("/")[2] for row in table}
    frame = search.odd_ones(tagged, label="label")
    outliers = frame[frame.finding == "outlier"]
    assert [names[i] for i in outliers.image_id] == ["p20.png"]
    wrong = frame[frame.finding == "label"]
    assert "p05.png" in [names[i] for i in wrong.image_id]
    assert set(wrong.image_id.map(names)) <= {"p05.png", "p20.png"}
    with pytest.raises(ValueError, match="no column 'klass'"):
        search.odd_ones(tagged, label="klass")


def test_a_pair_of_duplicates_is_one_finding(tagged):
    frame = search.odd_ones(tagged)
    pairs = [frozenset(p) for p in frame[frame.finding == "duplicate"][["image_id", "other"]].to_numpy().tolist()]
    assert pairs and len(pairs) == len(set(pairs))


def test_the_map_is_columns_in_the_shape_of_embedding_atlas(tagged, tmp_path):
    from datasets import load_dataset

    mapped = search.place_on_map(tagged, str(tmp_path / "mapped"), k=3)
    rows = load_dataset(mapped.folder, split="train", cache_dir=str(tmp_path / "cache"))
    assert all(0 <= row["x"] <= 1 and 0 <= row["y"] <= 1 for row in rows)
    assert all(len(row["neighbors"]["ids"]) == 3 for row in rows)
    first = rows[1]["neighbors"]["ids"][0]
    assert rows[first]["label"] == rows[1]["label"] or first == 5
