"""What a file begins with never stands in a row, a log or a report: it may be somebody's secret."""

import numpy as np
import pytest
from made import table

import imgprep
from imgprep.stages import images, segmentation, upload, variants

SECRET = b"TOP-SECRET"
HEADS = {
    "plain": b"",
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "gif": b"GIF89a",
    "tiff": b"II*\0\x08\0\0\0",
    "webp": b"RIFF\x40\0\0\0WEBPVP8 ",
    "bmp": b"BM",
    "heic": b"\0\0\0\x18ftypheic",
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
}


@pytest.mark.parametrize("verb", ["download", "transform", "variants", "segment", "upload"])
def test_it_stands_nowhere(tmp_path, verb, capsys):
    (tmp_path / "in").mkdir()
    for name, head in HEADS.items():
        (tmp_path / "in" / f"{name}.png").write_bytes(head + SECRET * 20)
    given, out = str(tmp_path / "in"), str(tmp_path / "out")
    calls = {
        "download": lambda: images.download(
            {"train": table([f"{given}/{name}.png" for name in HEADS])}, out, max_failed=1.0
        ),
        "transform": lambda: images.transform(given, out, np.flipud, max_failed=1.0),
        "variants": lambda: variants.build(given, out, max_failed=1.0),
        "segment": lambda: segmentation.segment(given, out, "128", max_failed=1.0),
        "upload": lambda: upload.upload(given, str(tmp_path / "store"), out, max_failed=1.0),
    }
    with imgprep.session("local", workers=0):
        found = calls[verb]()
    rows = found.table("train", ["reason", "error"]).to_pylist()
    assert len(rows) == len(HEADS) and all(row["reason"] for row in rows)
    told = str(rows) + str(capsys.readouterr())
    assert SECRET.decode() not in told and SECRET.hex() not in told.lower()
    assert SECRET[:6].decode() not in told
