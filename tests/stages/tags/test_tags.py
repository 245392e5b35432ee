"""Tags as columns: found, merged, corrected, agreed on, learnt."""

import json

import cv2
import numpy as np
import pytest

from imgprep import tags
from imgprep.dataset import Dataset
from imgprep.picture import codec
from imgprep.stages.tags.agreeing import kappa


def picture(path, red: int, seed: int = 0) -> None:
    random = np.random.default_rng(seed).integers(0, 60, (48, 64, 3)).astype(np.uint8)
    random[..., 0] = np.clip(random[..., 0].astype(int) + red, 0, 255)
    path.write_bytes(codec.encode(random, "PNG"))


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "pictures"
    where.mkdir()
    for n in range(6):
        picture(where / f"p{n}.png", 30 * n, n)
    (where / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return str(where)


def reddish(image):
    return ["red"] if image[..., 0].mean() > 100 else []


def scored(image):
    return [{"kind": "colour", "name": "red", "score": float(image[..., 0].mean() / 255)}]


def entries(ds: Dataset) -> dict[str, list]:
    table = ds.table("train", ["image_id", "tags"])
    return dict(zip(table["image_id"].to_pylist(), table["tags"].to_pylist(), strict=True))


def test_own_taggers_and_functions_side_by_side(folder, tmp_path):
    ds = tags.find(folder, str(tmp_path / "out"), taggers=["composition", "tone", reddish])
    assert ds.counts()["ok"] == 6
    found = entries(ds)
    names = [[e["name"] for e in row or [] if e["source"] == "reddish"] for row in found.values()]
    assert sum(n == ["red"] for n in names) == 3
    assert sum(row is None for row in found.values()) == 1  # the broken one keeps its reason
    table = ds.table("train", ["composition_scores", "tone_measures", "status"])
    for row in table.to_pylist():
        if row["status"] == "ok":
            assert 0 <= row["composition_scores"]["rule_of_thirds"] <= 1
            assert json.loads(row["composition_scores"]["evidence"]).keys() >= {"centered"}
            assert row["tone_measures"]["contrast"] >= 0


def test_a_second_run_computes_nothing(folder, tmp_path, capsys):
    tags.find(folder, str(tmp_path / "out"), taggers=["tone"])
    capsys.readouterr()
    tags.find(folder, str(tmp_path / "out"), taggers=["tone"])
    assert "7 rows, nothing to compute" in capsys.readouterr().out


def test_it_opens_with_datasets(folder, tmp_path):
    from datasets import load_dataset

    ds = tags.find(folder, str(tmp_path / "out"), taggers=["tone", scored])
    rows = load_dataset(ds.folder, split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[0]["tags"][0].keys() == {"kind", "name", "score", "source", "version", "evidence", "accepted"}


@pytest.mark.parametrize(
    ("taggers", "told"),
    [
        ([], "at least one"),
        (["tone", "tone"], "named twice"),
        ([7], "a tagger is one of composition, tone, offline"),
    ],
)
def test_a_wrong_tagger_is_told_before_any_work(folder, tmp_path, taggers, told):
    with pytest.raises(ValueError, match=told):
        tags.find(folder, str(tmp_path / "out"), taggers=taggers)
    assert not (tmp_path / "out").exists()


def test_what_is_no_tag_is_that_row_s_error(folder, tmp_path):
    ds = tags.find(folder, str(tmp_path / "out"), taggers=[lambda image: 5], max_failed=1.0)
    assert ds.counts()["ok"] == 0
    errors = ds.table("train", ["error"])["error"].to_pylist()
    assert sum("list of tags" in error for error in errors) == 6


def test_names_are_one_clean_line(folder, tmp_path):
    nasty = "a\u202eb\n<b>" + "x" * 500
    ds = tags.find(folder, str(tmp_path / "out"), taggers=[lambda image: [nasty, nasty, ""]])
    found = next(row for row in entries(ds).values() if row)
    assert len(found) == 1
    assert found[0]["name"].startswith("a b <b>x")
    assert len(found[0]["name"]) == 120


def test_tagging_a_tagged_dataset_says_to_merge(folder, tmp_path):
    first = tags.find(folder, str(tmp_path / "a"), taggers=["tone"])
    with pytest.raises(ValueError, match="tags.merge"):
        tags.find(first, str(tmp_path / "b"), taggers=["composition"])


def test_merge_brings_both_and_keeps_decisions(folder, tmp_path):
    first = tags.find(folder, str(tmp_path / "a"), taggers=[reddish])
    some = next(i for i, row in entries(first).items() if row)
    said = [{"image_id": some, "kind": "tag", "name": "red", "accepted": False}]
    first = tags.apply(first, said, str(tmp_path / "a2"), by="ann")
    second = tags.find(folder, str(tmp_path / "b"), taggers=[scored, reddish])
    both = entries(tags.merge([first, second], str(tmp_path / "c")))
    by_source = {e["source"]: e for e in both[some]}
    assert set(by_source) == {"reddish", "scored", "human:ann"}
    assert by_source["reddish"]["accepted"] is False


def test_corrections_end_as_a_column_and_survive_another_run(folder, tmp_path):
    first = tags.find(folder, str(tmp_path / "a"), taggers=[reddish])
    red, plain = (next(i for i, row in entries(first).items() if bool(row) == has and row is not None)
                  for has in (True, False))  # fmt: skip
    file = tmp_path / "corrections.json"
    said = [
        {"image_id": red, "kind": "tag", "name": "red", "accepted": False},
        {"image_id": plain, "kind": "tag", "name": "night", "accepted": True},
    ]
    file.write_text(json.dumps({"corrections": said}))
    for name in ("one", "two"):
        found = tags.find(folder, str(tmp_path / name), taggers=[reddish])
        done = entries(tags.apply(found, file, str(tmp_path / f"{name}-done")))
        assert {e["source"]: e["accepted"] for e in done[red]} == {"reddish": False, "human:you": False}
        assert [(e["name"], e["accepted"]) for e in done[plain]] == [("night", True)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no json", "cannot be read"),
        ("{}", "no list of corrections"),
        ('[{"image_id": "a"}]', "a correction has"),
        ('[{"image_id": "a", "kind": "k", "name": "n", "accepted": "yes"}]', "true or false"),
        ('[{"image_id": "elsewhere", "kind": "k", "name": "n", "accepted": true}]', "of another dataset"),
    ],
)
def test_a_wrong_file_of_corrections_is_told(folder, tmp_path, text, told):
    ds = tags.find(folder, str(tmp_path / "a"), taggers=["tone"])
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match=told):
        tags.apply(ds, tmp_path / "c.json", str(tmp_path / "b"))


def test_agreement_is_cohen_s_kappa():
    a, b = np.array([1, 1, 0, 0, 1, 0], bool), np.array([1, 0, 0, 0, 1, 1], bool)
    from sklearn.metrics import cohen_kappa_score

    assert kappa(a, b) == pytest.approx(cohen_kappa_score(a, b), abs=1e-3)
    assert kappa(np.ones(3, bool), np.ones(3, bool)) is None


def test_agreement_of_two_taggers_and_a_person(folder, tmp_path):
    def bright(image):
        return ["red"] if image.mean() > 50 else []

    ds = tags.find(folder, str(tmp_path / "a"), taggers=[reddish, bright])
    said = [{"image_id": i, "kind": "tag", "name": "red", "accepted": bool(row)} for i, row in entries(ds).items()
            if row is not None]  # fmt: skip
    table = tags.agreement(tags.apply(ds, said, str(tmp_path / "b")))
    assert {(a, b) for a, b in zip(table.a, table.b, strict=True)} == {
        ("bright 1", "reddish 1"), ("bright 1", "human"), ("reddish 1", "human"),
    }  # fmt: skip
    assert (table.n == 6).all()
    assert table.kappa.between(-1, 1).all()


def test_learning_takes_twenty_of_each(folder, tmp_path):
    ds = tags.find(folder, str(tmp_path / "a"), taggers=["tone"])
    with pytest.raises(ValueError, match="no vectors"):
        tags.learn(ds, "red")


class Means:
    """An embedder of three numbers."""

    once, version, kind, name, model_version, has_words = True, 1, "means", "means", "1", False

    def __call__(self, image):
        small = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA).reshape(-1).astype(np.float32)
        return small / (np.linalg.norm(small) + 1e-9)


def test_a_tagger_learns_from_corrections(tmp_path, monkeypatch):
    where = tmp_path / "many"
    where.mkdir()
    for n in range(60):
        picture(where / f"p{n:02d}.png", 160 if n % 2 else 20, n)
    ds = tags.find(str(where), str(tmp_path / "a"), taggers=[reddish], embedder=Means())
    said = [{"image_id": i, "kind": "tag", "name": "red", "accepted": bool(row)} for i, row in entries(ds).items()]
    done = tags.apply(ds, said, str(tmp_path / "b"))
    monkeypatch.setattr("imgprep.stages.tags.learning.Embedder", lambda name: Means())
    learned = tags.learn(done, "red")
    assert learned.auc > 0.95
    assert learned.examples == (30, 30)
    red = np.full((20, 20, 3), (200, 30, 30), np.uint8)
    grey = np.full((20, 20, 3), 30, np.uint8)
    assert learned(red)[0]["version"] == learned.version
    assert learned(grey) == []
    with pytest.raises(ValueError, match="it takes 20 of each"):
        tags.learn(done, "blue")
