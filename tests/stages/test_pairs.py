import io

import numpy as np
import pytest
import rasterio
from datasets import load_dataset
from PIL import Image

import imgprep
from imgprep import dataset
from imgprep.io import rasters
from imgprep.picture import codec
from imgprep.stages import pairs, segmentation

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (500, 700, 3), np.uint8)
MASK = np.zeros((500, 700), np.uint8)
MASK[100:300, 150:420], MASK[350:, 500:] = 1, 2


def save(path, array, **more):
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    options = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    with rasters.gdal(), rasterio.open(path, "w", **options, dtype=array.dtype, **more) as out:
        out.write(array)
    return str(path)


@pytest.fixture
def files(tmp_path):
    return {save(tmp_path / "a.tif", PICTURE): save(tmp_path / "a_mask.tif", MASK, nodata=255)}


@pytest.fixture(autouse=True)
def _here():
    with imgprep.session("local", workers=0):
        yield


def tiles(ds):
    """(split, x, y) of every tile."""
    return [
        (split, row["x"], row["y"])
        for split in ds.splits
        for row in ds.table(split, ["x", "y", "status"]).to_pylist()
        if row["status"] == "ok"
    ]


def leaks(found, side, margin):
    """Pairs of tiles of different splits that are nearer than the margin."""

    def gap(a, b):
        return max(abs(a[1] - b[1]), abs(a[2] - b[2])) - side

    return [(a, b) for a in found for b in found if a[0] < b[0] and gap(a, b) < margin]


def test_pairs_open_as_pictures_and_are_the_pixels_of_their_windows(files, tmp_path):
    pairs.write(files, str(tmp_path / "out"), tile=50, block=2, margin=20)
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {*loaded} == {"train", "test"} and len(loaded["train"]) > len(loaded["test"]) > 3
    for split in loaded:
        for row in loaded[split]:
            x, y = row["x"], row["y"]
            assert np.array_equal(np.asarray(row["image"]), PICTURE[y : y + 50, x : x + 50])
            mask = np.asarray(row["mask"])
            assert np.array_equal(mask, MASK[y : y + 50, x : x + 50])
            assert row["foreground"] == pytest.approx((mask > 0).mean()) and row["source"].endswith("a.tif")
    assert len({(r["x"], r["y"]) for split in loaded.values() for r in split}) == sum(map(len, loaded.values()))


@pytest.mark.parametrize(("block", "margin"), [(1, 0), (2, 20), (3, 64)])
def test_no_tile_is_nearer_than_the_margin_to_one_of_another_split(files, tmp_path, block, margin):
    found = tiles(pairs.write(files, str(tmp_path / "out"), tile=40, block=block, margin=margin, seed=3))
    assert {s for s, _, _ in found} == {"train", "test"} and not leaks(found, 40, margin)
    dealt = [
        (("train", "test")[(x // 40 + y // 40) % 5 == 0], x, y) for x in range(0, 680, 40) for y in range(0, 480, 40)
    ]
    assert leaks(dealt, 40, 1)  # tiles that are dealt out one by one have neighbours in the other split


def test_tiles_with_too_little_foreground_are_left_out_and_blocks_without_any_are_told(files, tmp_path):
    ds = pairs.write(files, str(tmp_path / "out"), tile=50, block=2, margin=20, min_foreground=0.5)
    share = {(x, y): (MASK[y : y + 50, x : x + 50] > 0).mean() for _, x, y in tiles(pairs.write(
        files, str(tmp_path / "all"), tile=50, block=2, margin=20))}  # fmt: skip
    assert {(x, y) for _, x, y in tiles(ds)} == {at for at, s in share.items() if s >= 0.5}
    counts = ds.counts()
    assert counts["reasons"] == {"no_foreground": counts["failed"]} and counts["failed"] > 5


def test_a_second_run_and_more_pictures_move_nothing(files, tmp_path, capsys):
    out, options = str(tmp_path / "out"), {"tile": 50, "block": 2, "margin": 20}
    before = tiles(pairs.write(files, out, **options))
    assert tiles(pairs.write(files, out, **options)) == before and "nothing to compute" in capsys.readouterr().out
    more = {save(tmp_path / "b.tif", PICTURE[:, ::-1]): save(tmp_path / "b_mask.tif", MASK[:, ::-1])}
    after = pairs.write(more | files, out, **options)
    assert len(tiles(after)) == 2 * len(before) and {*before} <= {*tiles(after)}
    assert "24 of 48 rows to compute: new rows" in capsys.readouterr().out


def test_grey_and_sixteen_bits(tmp_path):
    wide = (PICTURE[..., 0].astype(np.uint16) * 257)[..., None]
    ds = pairs.write(
        {save(tmp_path / "a.tif", wide): save(tmp_path / "m.tif", MASK)}, str(tmp_path / "out"), tile=50, block=2
    )
    row = ds.table("train").to_pylist()[0]
    image = np.asarray(Image.open(io.BytesIO(ds.pictures("train", [0])[0])))
    assert np.array_equal(image, PICTURE[row["y"] : row["y"] + 50, row["x"] : row["x"] + 50, 0])


@pytest.mark.parametrize("kind, bands", [("uint16", 1), ("uint16", 3), ("uint8", 5), ("uint8", 2)])
def test_more_than_a_png_holds_is_kept_beside_it(tmp_path, kind, bands):
    image = RNG.integers(0, np.iinfo(kind).max, (500, 700, bands)).astype(kind)
    given = {save(tmp_path / "a.tif", image): save(tmp_path / "m.tif", MASK)}
    pairs.write(given, str(tmp_path / "out"), tile=50, block=2, margin=20)
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    row = rows.with_format("numpy")[3]
    x, y = int(row["x"]), int(row["y"])
    want = image[y : y + 50, x : x + 50]
    pixels = np.asarray(row["pixels"])
    assert np.array_equal(pixels.transpose(1, 2, 0), want)
    assert rows.features["pixels"].feature.feature.feature.dtype == kind
    shown = want[..., :3] if bands >= 3 else want[..., 0]
    assert np.abs(np.asarray(rows[3]["image"]) - (shown if kind == "uint8" else shown / 257)).max() <= 0.51


def test_planes_are_those_that_were_segmented(tmp_path):
    planes = RNG.integers(0, 65_536, (4, 500, 700), np.uint16)
    first, *others = [Image.fromarray(plane) for plane in planes]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    source = str(tmp_path / "a.tif")
    masks = segmentation.segment(source, str(tmp_path / "masks"), "0 bright", channels=[3, 1])
    found = pairs.write(masks, str(tmp_path / "out"), tile=50, block=2, margin=20)
    row = found.table("train").to_pylist()[0]
    at = slice(row["y"], row["y"] + 50), slice(row["x"], row["x"] + 50)
    assert np.array_equal(np.array(row["pixels"]), planes[[3, 1]][(slice(None), *at)])
    with pytest.raises(ValueError, match="4 planes of 700 x 500"):
        pairs.write({source: save(tmp_path / "m.tif", MASK)}, str(tmp_path / "no"), tile=50)


def test_a_picture_without_tiles_is_copied_once_and_the_copy_removed(files, tmp_path, monkeypatch):
    (mask,), made = files.values(), []
    (tmp_path / "a.png").write_bytes(codec.encode(PICTURE))
    copy = rasters.copy_tiled
    monkeypatch.setattr(rasters.tiled, "WHOLE_PX", 10_000)

    def counted(*paths, **options):
        made.append(paths)
        copy(*paths, **options)

    monkeypatch.setattr(rasters, "copy_tiled", counted)
    ds = pairs.write({str(tmp_path / "a.png"): mask}, str(tmp_path / "out"), tile=50, block=2, margin=20)
    assert len(made) == 1 and not (tmp_path / "out" / ".imgprep" / "tiles").exists()
    row = ds.table("train").to_pylist()[0]
    image = codec.decode(ds.pictures("train", [0])[0])
    assert np.array_equal(image, PICTURE[row["y"] : row["y"] + 50, row["x"] : row["x"] + 50])


def test_wrong_options_and_pictures_are_told(files, tmp_path):
    out, (source,) = str(tmp_path / "out"), files
    small = save(tmp_path / "small.tif", MASK[:50])
    cases = [
        ({"tile": 0}, "tile is a whole number from 1, not 0"),
        ({"margin": -1}, "margin is a whole number from 0, not -1"),
        ({"min_foreground": 2}, "min_foreground is a share"),
        ({"tile": 600}, "no picture has a tile of 600 x 600 pixels"),
        ({"tile": 200, "block": 4}, "none of the 1 blocks falls into the split '(test|train)'"),
        ({"pictures": {source: small}}, r"has \(700, 500\) pixels, its mask \(700, 50\)"),
        ({"pictures": {source: str(tmp_path / "none.tif")}}, "there is no"),
    ]
    for options, told in cases:
        with pytest.raises(ValueError, match=told):
            pairs.write(options.pop("pictures", files), out, **options)
        assert not dataset.exists(out)


def test_where_a_picture_lies_does_not_decide_its_split(tmp_path):
    dealt = []
    for place in ("here", "there/deeper"):
        home = tmp_path / place
        home.mkdir(parents=True)
        given = {save(home / "a.tif", PICTURE): save(home / "a_mask.tif", MASK, nodata=255)}
        pairs.write(given, f"{home}/out", tile=50, block=2, margin=20)
        dealt.append(sorted(tiles(dataset.open(f"{home}/out"))))
    assert dealt[0] == dealt[1]


@pytest.mark.store
def test_pairs_of_a_picture_without_tiles_may_go_to_a_store(s3, tmp_path):
    bucket = f"pairs-{tmp_path.parent.name[-4:]}-{tmp_path.name[-4:]}".lower().replace("_", "")
    s3.mkdir(bucket)
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    files = {str(tmp_path / "a.png"): save(tmp_path / "a_mask.tif", MASK, nodata=255)}
    here = pairs.write(files, str(tmp_path / "out"), tile=50, block=2)
    there = pairs.write(files, f"s3://{bucket}/out", tile=50, block=2)
    for split in here.splits:
        assert there.table(split).equals(here.table(split))
    assert not s3.exists(f"{bucket}/out/.imgprep/tiles")
