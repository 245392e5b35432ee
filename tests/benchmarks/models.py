"""A segmentation model in an actor pool, beside plain `map_batches` over decoded tiles. See README.md here."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import child, measured
from site_of_jpegs import CACHE, jpegs

SIDE, WORKERS, BATCH = 512, 2, 8


def make_model() -> str:
    """A network of 5 convolutions (3, 16, 32, 32, 16, 2 channels) as an ONNX file, its weights random."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path, rng, nodes, weights, last = CACHE / "model.onnx", np.random.default_rng(0), [], [], "x"
    channels = [3, 16, 32, 32, 16, 2]
    for i, (a, b) in enumerate(zip(channels, channels[1:], strict=False)):
        kernel = rng.normal(0, (2 / (9 * a)) ** 0.5, (b, a, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        last = f"r{i}"
    nodes[-1] = helper.make_node("Identity", [f"c{i}"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, "h", "w"])
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


def make_tiles(count: int) -> str:
    """A dataset folder of `count` JPEGs of 512 x 512; made once."""
    import cv2

    import imgprep
    from imgprep.rows import sources
    from imgprep.stages import images

    folder = CACHE / f"tiles-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    for n, path in enumerate(sorted(jpegs(count).glob("*.jpg"))[:count]):
        if not (folder / f"{n:05d}.jpg").exists():
            tile = cv2.resize(cv2.imread(str(path)), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"{n:05d}.jpg"), tile)
    imgprep.session("local", workers=WORKERS)
    images.download(sources.read({"train": str(folder)}), str(CACHE / "raw-tiles" / str(count)))
    imgprep.close()
    return str(CACHE / "raw-tiles" / str(count))


def decode(table: dict) -> dict:
    import cv2

    pictures = [cv2.imdecode(np.frombuffer(v["bytes"], np.uint8), cv2.IMREAD_COLOR_RGB) for v in table["image"]]
    return {"image_id": table["image_id"], "image": np.stack(pictures)}


class Net:
    """What Ray's guide for batch inference has: a session per actor, batches of decoded pictures in, masks out."""

    def __init__(self, path: str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, table: dict) -> dict:
        import cv2

        stack = np.ascontiguousarray((table["image"] * np.float32(1 / 255)).transpose(0, 3, 1, 2))
        masks = self.session.run(None, {"x": stack})[0].argmax(1).astype(np.uint8)
        return {"image_id": table["image_id"], "mask": [cv2.imencode(".png", m)[1].tobytes() for m in masks]}


def plain(raw: str, model: str, out: str) -> None:
    import ray.data

    from imgprep import dataset

    ds = ray.data.read_parquet(dataset.open(raw).data_files()).select_columns(["image_id", "image"])
    ds = ds.repartition(4 * WORKERS).map_batches(decode, batch_size=BATCH, num_cpus=0.25)
    pool = ray.data.ActorPoolStrategy(size=WORKERS)
    # Half a core each by Ray's books: reading needs a whole one, and would wait for ever.
    ds = ds.map_batches(Net, fn_constructor_args=(model,), batch_size=BATCH, compute=pool, num_cpus=0.5)
    ds.write_parquet(out)


def ours(raw: str, model: str, out: str) -> None:
    from imgprep import models
    from imgprep.stages import images

    found = images.transform(raw, out, models.Semantic, model=model, batch=BATCH)
    assert found.counts()["ok"] == found.counts()["rows"], found


def contestant(name: str, raw: str, few: str, model: str, out: str) -> None:
    """Both in one warm Ray; the first, small round brings workers and imports."""
    import imgprep
    from imgprep import engine

    imgprep.session("ray", workers=WORKERS)
    engine.start()
    run = {"plain": plain, "ours": ours}[name]
    run(few, model, f"{out}-warm")
    print(json.dumps(measured(lambda: run(raw, model, out))))
    imgprep.close()


def same_masks(theirs: str, ours: str) -> bool:
    import pyarrow.parquet as pq

    from imgprep import dataset
    from imgprep.picture import codec

    ds, rows = dataset.open(ours), pq.read_table(theirs).to_pylist()
    masks = {row["image_id"]: row["mask"] for row in rows}
    table = ds.table("train")
    pictures = ds.pictures("train", range(table.num_rows))
    pairs = zip(table["image_id"].to_pylist(), pictures, strict=True)
    return all(np.array_equal(codec.decode(masks[name]), codec.decode(data)) for name, data in pairs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", nargs=5)
    given = parser.parse_args()
    if given.contestant:
        return contestant(given.contestant[0], *given.contestant[1:])
    raw, few, model = make_tiles(given.count), make_tiles(32), make_model()
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as where:
            rate = {}
            for name in ("plain", "ours"):
                found = child(
                    sys.executable, __file__, "--contestant", name, raw, few, model, os.path.join(where, name)
                )
                rate[name] = given.count / found["s"]
                cpu = f"{1000 * found['cpu_s'] / given.count:6.1f} CPU ms each"
                print(f"{name:6}{rate[name]:6.1f} pictures/s {cpu}  others {found['others']:3.0%}", flush=True)
            assert same_masks(str(Path(where, "plain")), str(Path(where, "ours")))
            print(f"x{rate['ours'] / rate['plain']:.2f} pictures/s", flush=True)


if __name__ == "__main__":
    main()
