"""Files of many planes: none is taken in silence; and what would take memory without a bound is refused."""

import io
import resource
import struct

import numpy as np
import pytest
from PIL import Image
from test_rasters import save

import imgprep
from imgprep.io import rasters
from imgprep.stages import segmentation

OME = """<?xml version="1.0"?><OME><Image><Pixels DimensionOrder="XYCZT" SizeC="3" SizeZ="5" SizeT="1">
<Channel ID="0" Name="DAPI"/><Channel ID="1" Name="GFP"/><Channel ID="2" Name="RFP"/></Pixels></Image></OME>"""
PLANES = np.random.default_rng(0).integers(0, 65_536, (15, 60, 80), np.uint16)


@pytest.fixture(autouse=True, scope="module")
def inline():
    imgprep.session("local", workers=0)
    yield
    imgprep.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "cells.ome.tif"
    first, *others = [Image.fromarray(plane) for plane in PLANES]
    first.save(path, save_all=True, append_images=others, tiffinfo={270: OME})
    return str(path)


def mask_of(found):
    with rasters.open(f"{found.folder}/{found.table('train')['mask'][0]}") as made:
        return made.read()[..., 0]


def test_one_plane_of_fifteen_is_not_taken_in_silence(stack, tmp_path):
    row = segmentation.segment(stack, str(tmp_path / "out"), 128, max_failed=1).table("train").to_pylist()[0]
    assert (row["status"], row["reason"]) == ("failed", "unsupported_format")
    assert "15 planes of 80 x 60 (OME-TIFF: 3 channels, 5 z, 1 t, in the order XYCZT; DAPI, GFP, RFP)" in row["error"]
    assert "plane=0 to 14 chooses one" in row["error"]
    with pytest.raises(ValueError, match="15 planes"):
        segmentation.preview(stack, 128)


def test_a_plane_is_chosen_by_its_number(stack, tmp_path, capsys):
    for plane in (0, 11):
        found = segmentation.segment(stack, str(tmp_path / "out"), 30_000, plane=plane, objects=False)
        assert np.array_equal(mask_of(found), PLANES[plane] <= 30_000)
    assert "plane changed" in capsys.readouterr().out
    row = segmentation.segment(stack, str(tmp_path / "no"), 1, plane=15, max_failed=1).table("train").to_pylist()[0]
    assert row["error"] == "there is no plane 15 in 'cells.ome.tif': it has 15, from 0 to 14"


@pytest.mark.parametrize("whole_px", [1, 10**9])  # copied into tiles, and not
def test_channels_become_bands_in_their_order(stack, tmp_path, monkeypatch, whole_px):
    monkeypatch.setattr("imgprep.io.rasters.tiled.WHOLE_PX", whole_px)
    seen = []

    def darker(tile):
        seen.append(tile.shape[2])
        return tile[..., 0] < tile[..., 1]

    darker.radius = 0
    options = {"channels": [7, 2, 4], "objects": False, "tile_wh": [64, 64]}
    found = segmentation.segment(stack, str(tmp_path / "out"), darker, **options)
    assert np.array_equal(mask_of(found), PLANES[7] < PLANES[2]) and {*seen} == {3}
    assert found.table("train")["bands"].to_pylist() == [3]


def test_channels_of_any_picture_are_its_bands(tmp_path):
    image = np.random.default_rng(1).integers(0, 255, (50, 60, 6), np.uint8)
    path = save(tmp_path / "a.tif", image)
    found = segmentation.segment(path, str(tmp_path / "out"), 99, channels=[5], objects=False)
    assert np.array_equal(mask_of(found), image[..., 5] <= 99)
    for wrong, told in [({"channels": []}, "channels is a list of numbers from 0"), ({"plane": -1}, "plane is a")]:
        with pytest.raises(ValueError, match=told):
            segmentation.segment(path, str(tmp_path / "no"), 99, **wrong)


def test_a_pyramid_is_no_stack(tmp_path):
    pages = [Image.fromarray(PLANES[0][::n, ::n].copy()) for n in (1, 2, 4)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    found = segmentation.segment(str(tmp_path / "a.tif"), str(tmp_path / "out"), 30_000, objects=False)
    assert np.array_equal(mask_of(found), PLANES[0] <= 30_000)


def film(path, frames):
    """A GIF of so many frames, the last one over and over."""
    pictures = [Image.fromarray(np.full((8, 8), n, np.uint8)) for n in (10, 200)]
    sink = io.BytesIO()
    pictures[0].save(sink, "GIF", save_all=True, append_images=pictures[1:], duration=10)
    data = sink.getvalue()
    second = data[data.rindex(b"\x21\xf9") : -1]
    path.write_bytes(data[:-1] + second * (frames - 2) + b";")
    return str(path)


@pytest.mark.parametrize("frames", [3, 100_000])
def test_frames_of_a_film_are_no_bands(tmp_path, frames):
    path = film(tmp_path / "a.gif", frames)
    row = segmentation.segment(path, str(tmp_path / "out"), 128, max_failed=1).table("train").to_pylist()[0]
    assert row["reason"] == "unsupported_format"
    assert f"{frames:,} planes of 8 x 8: plane=0 takes the first" in row["error"]
    found = segmentation.segment(path, str(tmp_path / "out"), 128, plane=0)
    assert mask_of(found).all() and found.table("train")["bands"].to_pylist() == [3]


def huge_tile(path, side=65_520):
    """A TIFF of one tile, of which next to nothing is there."""
    tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    tags += [(322, 4, side), (323, 4, side), (324, 4, 8), (325, 4, 9)]
    head = b"II*\0" + struct.pack("<I", 17) + b"\x78\x9c\x03\0\0\0\0\0\1"
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(head + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))
    return str(path)


def test_a_tile_of_gigabytes_is_refused_by_its_header(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = segmentation.segment(huge_tile(tmp_path / "a.tif"), str(tmp_path / "out"), 128, max_failed=1)
    row = found.table("train").to_pylist()[0]
    assert row["reason"] == "too_many_pixels"
    assert "its own tiles of 65,520 x 65,520 pixels take 4.3 GB to decode: write it anew" in row["error"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB
