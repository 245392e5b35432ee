"""Splits: growth moves nobody, what belongs together stays together, and a dataset folder is dealt out anew."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from made import folder, table

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.rows import sources, splits
from imgprep.stages import images


def rows(names, **columns) -> dict[str, pa.Table]:
    names = [str(name) for name in names]
    return {
        "all": pa.table(
            {"image_id": names, **columns, "source": [f"http://h/{name}" for name in names]}
        )
    }


def where(dealt: dict[str, pa.Table], column: str = "image_id") -> dict[str, str]:
    return {value: split for split, table in dealt.items() for value in table[column].to_pylist()}


def test_every_row_is_in_one_split_in_its_order_and_the_shares_are_met():
    dealt = splits.split(rows(range(10_000)))
    assert splits.split(rows(range(10_000))["all"]) == dealt
    assert list(dealt) == ["train", "validation", "test"]
    ids = [list(map(int, table["image_id"].to_pylist())) for table in dealt.values()]
    assert sorted(sum(ids, [])) == list(range(10_000)) and all(part == sorted(part) for part in ids)
    assert [len(part) for part in ids] == pytest.approx([8000, 1000, 1000], abs=4 * 40)


def test_any_table_is_dealt_by_any_key():
    assert sum(map(len, splits.split(pa.table({"name": list("abc")}), key="name").values())) == 3
    assert [len(t) for t in splits.split(rows([]), report_classes="source").values()] == [0, 0, 0]


@pytest.mark.parametrize(
    "options", [{}, {"report_classes": "label"}, {"group": "owner"}, {"key": "label"}, {"seed": 7}]
)
def test_new_rows_move_no_old_row_wherever_they_stand(options):
    rng = np.random.default_rng(0)
    names = rng.permutation(3000)
    label, owner = (
        rng.choice(list("abc"), 3000, p=[0.9, 0.08, 0.02]),
        rng.integers(0, 300, 3000).astype(str),
    )
    old = np.sort(rng.choice(3000, 1000, replace=False))
    before = where(splits.split(rows(names[old], label=label[old], owner=owner[old]), **options))
    after = where(splits.split(rows(names, label=label, owner=owner), **options))
    assert {name: after[name] for name in before} == before


def test_a_key_is_its_text_whatever_type_growth_makes_of_the_column():
    old = splits.split(rows(range(100), owner=list(range(100))), key="owner")
    for grown in ([*range(100), None], [*range(100), 0.5], [*map(str, range(100)), "x"]):
        new = where(splits.split(rows(range(101), owner=grown), key="owner"))
        assert where(old).items() <= new.items()


def test_a_relabelled_row_stays_and_another_seed_deals_anew():
    one = where(splits.split(rows(range(1000), label=["a"] * 1000), report_classes="label"))
    assert (
        where(splits.split(rows(range(1000), label=["a", "b"] * 500), report_classes="label"))
        == one
    )
    other = where(splits.split(rows(range(1000)), seed=1))
    assert 200 < sum(one[name] != other[name] for name in one) < 450  # independent: 0.34 of them


def test_classes_get_their_shares_within_what_is_promised():
    label = np.random.default_rng(1).choice(list("abcdefgh"), 20_000)
    dealt = splits.split(rows(range(20_000), label=label), report_classes="label")
    counts = splits.balance(dealt, "label")
    assert list(counts.columns) == list(dealt) and counts.sum().sum() == 20_000
    n, p = counts.sum(axis=1).to_numpy()[:, None], np.array([[0.8, 0.1, 0.1]])
    inside = abs(counts.to_numpy() - n * p) <= 2 * np.sqrt(n * p * (1 - p))
    assert inside.mean() > 0.85


def test_the_seed_that_is_named_is_nearer(capsys):
    tables = rows(range(200), label=list("abcdefghij") * 20)
    splits.split(tables, report_classes="label")
    said = capsys.readouterr().out.replace(";", " ").split()
    seed, now, then = int(said[-3].removeprefix("seed=").rstrip(",")), int(said[1]), int(said[-1])
    splits.split(tables, report_classes="label", seed=seed)
    assert int(capsys.readouterr().out.split()[1]) == then < now


def test_the_old_name_still_answers_and_says_the_new_one(capsys):
    with pytest.warns(FutureWarning, match="it is report_classes= now"):
        splits.split(rows(range(20), label=["a"] * 20), stratify="label")
    assert "exact shares per label" in capsys.readouterr().out


def test_a_missing_hash_is_told_with_what_makes_it():
    with pytest.raises(
        ValueError, match=r"no column 'phash'; .*; splits.hashed\(dataset\) makes it"
    ):
        splits.split(rows("ab"), near_duplicates="phash")


def test_rows_of_one_group_one_source_or_one_picture_go_together():
    owner = [str(i % 37) if i % 5 else ("" if i % 2 else None) for i in range(1000)]
    dealt = splits.split(rows(range(1000), owner=owner), group="owner")
    alone = [sum(not name for name in t["owner"].to_pylist()) for t in dealt.values()]
    assert alone == pytest.approx([160, 20, 20], abs=20)  # those without an owner: each for itself
    places = [
        {split for split, t in dealt.items() if name in t["owner"].to_pylist()}
        for name in {*owner} - {None, ""}
    ]
    assert all(len(found) == 1 for found in places) and len(set.union(*places)) == 3
    twice = rows([f"{i}-{n}" for n in "ab" for i in range(300)])["all"]
    twice = twice.set_column(
        1, "source", pa.array([f"http://h/{i}" for _ in "ab" for i in range(300)])
    )
    place = where(splits.split({"all": twice}))
    assert all(place[f"{i}-a"] == place[f"{i}-b"] for i in range(300))


def test_near_duplicates_go_with_the_first_of_them_and_rows_without_a_hash_alone():
    rng = np.random.default_rng(3)
    base = rng.integers(1, 2**63, 200, np.uint64)
    hashes = [*base.tolist(), *(base ^ np.uint64(0b111)).tolist(), *[0] * 200, None]
    tables = rows(range(601), phash=pa.array(hashes, pa.uint64()))
    plain, near = where(splits.split(tables)), where(splits.split(tables, near_duplicates="phash"))
    assert [near[str(i + 200)] for i in range(200)] == [plain[str(i)] for i in range(200)]
    assert [near[str(i)] for i in (*range(200), *range(400, 601))] == [
        plain[str(i)] for i in (*range(200), *range(400, 601))
    ]


def test_chains_of_groups_and_copies_are_one():
    tables = {
        "all": pa.table({"image_id": list("abcd"), "owner": list("xxyz"), "source": list("1223")})
    }
    for seed in range(20):
        place = where(splits.split(tables, {"left": 0.5, "right": 0.5}, group="owner", seed=seed))
        assert place["a"] == place["b"] == place["c"]


def test_tables_of_several_splits_are_dealt_as_one_with_ids_of_their_own(tmp_path):
    paths = folder(tmp_path / "in", 4)
    tables = sources.read({"train": tmp_path / "in", "test": tmp_path / "in"})
    dealt = splits.split(tables, {"train": 0.5, "test": 0.5})
    place = where(dealt)
    assert len(place) == 8 and sum(name.endswith("-test") for name in place) == 4
    assert all(place[name] == place[name.removesuffix("-test")] for name in place)
    assert {*where(dealt, "source")} == {*paths}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"shares": {"train": 0.8, "test": 0.1}},
            "shares is {split: share}, all above 0 and 1 in sum",
        ),
        ({"shares": {"train": 1.5, "test": -0.5}}, "shares is"),
        ({"shares": {}}, "shares is"),
        ({"group": "ownr"}, "no column 'ownr'; the table has: image_id, owner, source"),
    ],
)
def test_mistakes_are_one_sentence(options, says):
    with pytest.raises(ValueError, match=says.replace("{", r"\{")):
        splits.split(rows("ab", owner=["x", "y"]), **options)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """30 pictures, 10 of them again as larger JPEGs, 20 that cannot be had."""
    home, rng, paths = tmp_path_factory.mktemp("splits"), np.random.default_rng(0), []
    for i, small in enumerate(rng.integers(0, 256, (30, 8, 8, 3), np.uint8)):
        paths.append(str(home / f"{i}.png"))
        Path(paths[-1]).write_bytes(codec.encode(cv2.resize(small, (64, 64))))
    for i in range(10):
        larger = cv2.resize(codec.decode(Path(paths[i]).read_bytes()), (150, 150))
        paths.append(str(home / f"{i}.jpg"))
        Path(paths[-1]).write_bytes(codec.encode(larger, "JPEG", quality=80))
    paths += [str(home / f"none{i}.png") for i in range(20)]
    with imgprep.session("local", workers=0):
        yield images.download(
            {"whole": table(paths, note=[f"n{i}" for i in range(60)])}, str(home / "raw")
        )


def test_a_dataset_folder_is_dealt_out_anew_without_computing_a_picture(raw, tmp_path, monkeypatch):
    dealt = splits.split(splits.hashed(raw), near_duplicates="phash")
    place = where(dealt, "note")
    assert all(place[f"n{i}"] == place[f"n{30 + i}"] for i in range(10))
    assert (
        len({place[f"n{i}"] for i in range(40, 60)}) > 1
    )  # their placeholders are one picture, the rows are not
    monkeypatch.setattr(codec, "decode", None)
    out = str(tmp_path / "dealt")
    found = images.copy(raw, dealt, out)
    assert found.splits == ["train", "validation", "test"] and found.counts()["ok"] == 40
    assert found.counts()["reasons"] == raw.counts()["reasons"]
    before = {row["note"]: row for row in raw.table("whole").to_pylist()}
    for split in found.splits:
        kept = found.table(split)
        assert kept["note"].to_pylist() == dealt[split]["note"].to_pylist()
        for row, data in zip(
            kept.to_pylist(), found.pictures(split, range(len(kept))), strict=True
        ):
            old = before[row["note"]]
            assert data == raw.pictures("whole", [list(before).index(row["note"])])[0]
            assert {n: v for n, v in row.items() if n not in ("file", "row", "phash")} == {
                n: v for n, v in old.items() if n not in ("file", "row")
            }
    assert images.copy(raw, dealt, out).runs() == found.runs()  # nothing to do


def test_copy_refuses_itself_and_foreign_rows(raw, tmp_path):
    with pytest.raises(ValueError, match="is the source itself"):
        images.copy(raw, {"all": raw.table("whole")}, raw.folder)
    with pytest.raises(ValueError, match="no column 'file': give rows as Dataset.table gives them"):
        images.copy(raw, rows("ab"), str(tmp_path / "x"))
    assert dataset.exists(raw.folder) and not (tmp_path / "x").exists()
