"""A slide by the API: put it in pieces, ask for its segmentation, watch, fetch what came."""

import io
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import rasterio

from imgprep.io import rasters
from imgprep.sample import slide
from imgprep.serve import objects, server
from imgprep.stages import segmentation

PIECE = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


@pytest.mark.slow
def test_a_slide_is_segmented_as_in_a_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "SMALL_BYTES", 100_000)  # so that this one counts as large
    made = slide.make(str(tmp_path / "slide"), (2048, 1200))
    data = Path(made["slide"]).read_bytes()
    with server.start(out=str(tmp_path / "media"), workers=1) as here:
        client = httpx.Client(base_url=here.url, timeout=60)
        begun = client.post("/v1/uploads", headers=PIECE | {"Upload-Length": str(len(data))})
        url = begun.headers["location"]
        for at in range(0, len(data), 1 << 20):
            piece = data[at : at + (1 << 20)]
            done = client.patch(url, headers=PIECE | {"Upload-Offset": str(at)}, content=piece)
        name = done.headers["object-id"]
        known = client.get(f"/v1/objects/{name}").json()
        assert (known["width"], known["height"], known["format"]) == (2048, 1200, "TIFF")
        steps = {"steps": [{"segment": {"operator": "otsu-tissue", "min_area": 20}}]}
        job = client.post(f"/v1/objects/{name}/steps", json=steps).headers["location"]
        deadline = time.monotonic() + 120
        seen = set()
        while (found := client.get(job).json())["status"] == "queued" and time.monotonic() < deadline:
            seen.add(found["steps"][0].get("progress"))
            time.sleep(0.1)
        assert found["status"] == "ok", found
        results = found["steps"][0]["results"]
        assert {"mask", "labels", "objects"} <= results.keys() and len(seen) > 1
        mask = client.get(results["mask"]).content
    with rasterio.open(io.BytesIO(mask)) as opened:
        pixels = opened.read(1)
    row = segmentation.segment(made["slide"], str(tmp_path / "out"), "otsu-tissue", min_area=20)
    (path,) = row.table("train", ["mask"])["mask"].to_pylist()
    with rasters.open_raster(f"{tmp_path}/out/{path}") as raster:
        assert np.array_equal(raster.read()[..., 0], pixels)


@pytest.mark.parametrize("options", [{"nosuch": 1}, {"operator": "/etc/passwd"}, {"operator": ["net.onnx"]}])
def test_a_client_names_no_file_and_no_model(tmp_path, options):
    with server.start(out=str(tmp_path), workers=1) as here:
        answer = httpx.post(f"{here.url}/v1/objects/{'0' * 64}/steps", json={"steps": [{"segment": options}]})
    assert (answer.status_code, answer.json()["reason"]) == (422, "wrong_option")
