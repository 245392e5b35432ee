"""What is done with every upload, or with one that names its steps; a detector's boxes."""

import time

import httpx
import numpy as np
import pytest
from made import picture
from served import Served

from imgprep.picture import codec
from imgprep.serve import server
from imgprep.serve.detecting import detect_operation
from imgprep.serve.service import Settings

PNG = codec.encode(picture(9, (64, 48)))
USUAL = ("grey", {"fit": {"max_side": 16}})


def ended(client, url):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        job = client.get(url).json()
        if job["status"] != "queued":
            return job
        time.sleep(0.05)
    raise AssertionError("the job did not end")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("media"))
    with server.start(out=out, workers=1, steps=USUAL) as here:
        with httpx.Client(base_url=here.url, timeout=60) as found:
            yield found


def test_every_upload_goes_through_the_steps_of_the_service(client):
    put = client.put("/v1/objects", content=PNG).json()
    job = ended(client, put["job"])
    assert [step["op"] for step in job["steps"]] == ["grey", "fit"]
    small = client.get(job["steps"][1]["result"]).content
    assert codec.decode(small).shape == (12, 16, 3)
    assert client.put("/v1/objects", content=PNG).json()["job"] == put["job"]


@pytest.mark.parametrize(
    ("steps", "names"),
    [("", []), ("denoise, grey", ["denoise", "grey"]), ('[{"fit": {"max_side": 8}}]', ["fit"])],
)
def test_an_upload_may_ask_for_others_or_none(client, steps, names):
    put = client.put("/v1/objects", params={"steps": steps}, content=PNG).json()
    assert ("job" in put) == bool(names)
    if names:
        job = ended(client, put["job"])
        assert [step["op"] for step in job["steps"]] == names and job["status"] == "ok"


@pytest.mark.parametrize("steps", ["nosuch", "[", '[{"fit": {"max": 1}}]'])
def test_wrong_steps_are_refused_before_the_upload_is_kept(client, steps):
    other = codec.encode(picture(hash(steps) % 1000, (32, 24)))
    answer = client.put("/v1/objects", params={"steps": steps}, content=other)
    assert answer.status_code in (404, 422) and answer.json()["error"]
    records = client.get("/v1/objects?limit=1000").json()["objects"]
    assert (32, 24) not in [(one["width"], one["height"]) for one in records]


def test_a_service_with_wrong_steps_does_not_start(tmp_path):
    with pytest.raises(ValueError, match="steps: no operation 'nosuch'"):
        server.start(out=str(tmp_path), workers=1, steps=("nosuch",))


def detector(path, box):
    """A network that sees one object in every picture, as an ONNX file."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    said = {
        "boxes": np.array([box, [1, 1, 4, 4]], np.float32),
        "labels": np.array([0, 1], np.int64),
        "scores": np.array([0.9, 0.3], np.float32),
    }
    nodes = []
    outputs = []
    for name, value in said.items():
        constant = onnx.numpy_helper.from_array(value)
        nodes.append(helper.make_node("Constant", [], [name], value=constant))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        outputs.append(helper.make_tensor_value_info(name, kind, value.shape))
    given = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "detector", [given], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return str(path)


def test_detect_is_an_operation_a_step_and_a_kept_result(tmp_path):
    model = detector(tmp_path / "cats.onnx", [10, 20, 30, 45])
    with Served(tmp_path, "--workers", "1", "--detect", model) as here, here.client() as client:
        found = client.post("/v1/detect", content=PNG).json()
        assert (found["width"], found["height"]) == (64, 48)
        (one,) = found["objects"]
        assert one["box_xywh"] == [10, 20, 20, 25] and one["score"] == pytest.approx(0.9)
        both = client.post("/v1/detect?threshold=0.2", content=PNG).json()
        assert len(both["objects"]) == 2
        put = client.put("/v1/objects?steps=detect", content=PNG).json()
        job = ended(client, put["job"])
        assert client.get(job["steps"][0]["result"]).json() == found
        assert client.get(f"/v1/objects/{put['id']}/detect").json() == found
        described = client.get("/openapi.json").json()["paths"]["/v1/detect"]["post"]
        assert "threshold" in [parameter["name"] for parameter in described["parameters"]]


def test_another_model_makes_other_results(tmp_path):
    one = detect_operation(detector(tmp_path / "a.onnx", [1, 2, 3, 4]))
    other = detect_operation(detector(tmp_path / "b.onnx", [1, 2, 3, 9]))
    assert one.name == other.name == "detect" and one.key != other.key
    with pytest.raises(ValueError, match="nosuch"):
        detect_operation("nosuch.onnx")
    assert Settings().detect is None
