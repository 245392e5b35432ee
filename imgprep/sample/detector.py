"""The demo's detector: a network of a few convolutions that sees coloured balls, as an ONNX file.

It has no weights that were learned: a colour is turned into a height by a convolution of one pixel,
and a ball is where a square holds much of it and the ring around the square little (a centre and
its surround, at several sizes). It shows how detection works; for work name a model of your own.
The file is written here byte by byte, as protobuf, so that nobody needs the package onnx for it.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BALL_LABELS = ("blue ball", "green ball", "red ball")
# What makes a pixel blue, green or red: one row each, of r, g, b.
COLOUR_ROWS = ((-0.9, -0.9, 1.8), (-0.9, 1.8, -0.9), (1.8, -0.9, -0.9))
CELL_PX = 4
# Sides of the squares, in cells; odd, so that a cell is their middle.
CELL_SIDES = (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23)
# How much what lies around a square speaks against it.
RING_WEIGHT = 3.0
# Where nothing is, the score is below 0.
LEAST_SCORE = 0.02
# A square of the best score is a little smaller than its ball.
BALL_OF_SQUARE = 1.06
FLOAT, INT64 = 1, 7
OPSET, IR_VERSION = 17, 9
DETECTOR_SAYS: tuple[tuple[str, int, list[int | str]], ...] = (
    ("boxes", FLOAT, ["n", 4]),
    ("scores", FLOAT, ["n"]),
    ("labels", INT64, ["n"]),
)


def write_detector(path: str | Path) -> Path:
    """Write the network into a file `*.onnx`; the same bytes every time."""
    path = Path(path)
    path.write_bytes(_model_bytes())
    return path


def _model_bytes() -> bytes:
    net = _NetWriter()
    net.constant("colours", np.array(COLOUR_ROWS, np.float32).reshape(3, 3, 1, 1))
    for name, value in (("zero", 0.0), ("one", 1.0), ("cell", CELL_PX), ("half", CELL_PX / 2)):
        net.constant(name, np.array(value, np.float32))
    net.constant("least", np.array(LEAST_SCORE, np.float32))
    for name, shape in (("per_class", [len(BALL_LABELS), -1]), ("per_corner", [4, -1])):
        net.constant(name, np.array(shape, np.int64))
    for name, axis in (("down", 2), ("across", 3)):
        net.constant(name, np.array(axis, np.int64))
    net.node("Conv", ["images", "colours"], "tinted")
    net.node("Clip", ["tinted", "zero", "one"], "colourful")
    sides = [CELL_PX, CELL_PX]
    net.node("AveragePool", ["colourful"], "cells", kernel_shape=sides, strides=sides)
    _middles(net)
    scores = [_scores_of_side(net, side) for side in CELL_SIDES]
    boxes = [_boxes_of_side(net, side) for side in CELL_SIDES]
    net.node("Concat", boxes, "boxes", axis=0)
    net.node("Concat", scores, "all_scores", axis=1)
    net.node("ReduceMax", ["all_scores"], "scores", axes=[0], keepdims=0)
    net.node("ArgMax", ["all_scores"], "labels", axis=0, keepdims=0)
    return net.model()


def _middles(net: "_NetWriter") -> None:
    """The middle of every cell, in pixels, as (n, 4): x, y, x, y."""
    net.node("ReduceMax", ["cells"], "any", axes=[1], keepdims=1)
    net.node("Mul", ["any", "zero"], "nothing")
    net.node("Add", ["nothing", "one"], "ones")
    for axis in ("across", "down"):
        net.node("CumSum", ["ones", axis], f"{axis}_count")
        net.node("Mul", [f"{axis}_count", "cell"], f"{axis}_end")
        net.node("Sub", [f"{axis}_end", "half"], f"{axis}_middle")
    corners = ["across_middle", "down_middle"] * 2
    net.node("Concat", corners, "middle_planes", axis=1)
    net.node("Reshape", ["middle_planes", "per_corner"], "middle_rows")
    net.node("Transpose", ["middle_rows"], "middles", perm=[1, 0])


def _scores_of_side(net: "_NetWriter", side: int) -> str:
    """(classes, n): what each square holds, less what the ring around it does; peaks only."""
    around = 2 * side - 1
    ring_cells = around**2 - side**2
    net.constant(f"gain{side}", np.array(1 + RING_WEIGHT * side**2 / ring_cells, np.float32))
    net.constant(f"loss{side}", np.array(RING_WEIGHT * around**2 / ring_cells, np.float32))
    for name, kernel in (("inside", side), ("around", around)):
        how = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4, "count_include_pad": 1}
        net.node("AveragePool", ["cells"], f"{name}{side}", **how)
    net.node("Mul", [f"inside{side}", f"gain{side}"], f"for{side}")
    net.node("Mul", [f"around{side}", f"loss{side}"], f"against{side}")
    net.node("Sub", [f"for{side}", f"against{side}"], f"sum{side}")
    net.node("Sub", [f"sum{side}", "least"], f"raw{side}")
    # Only where no neighbour says more: one ball is said once.
    best = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1]}
    net.node("MaxPool", [f"raw{side}"], f"best{side}", **best)
    net.node("Equal", [f"raw{side}", f"best{side}"], f"equal{side}")
    net.node("Cast", [f"equal{side}"], f"peak{side}", to=FLOAT)
    net.node("Sub", [f"peak{side}", "one"], f"other{side}")
    net.node("Mul", [f"raw{side}", f"peak{side}"], f"peaks{side}")
    net.node("Add", [f"peaks{side}", f"other{side}"], f"said{side}")
    net.node("Min", [f"said{side}", "one"], f"most{side}")
    net.node("Reshape", [f"most{side}", "per_class"], f"scores{side}")
    return f"scores{side}"


def _boxes_of_side(net: "_NetWriter", side: int) -> str:
    """(n, 4): x1 y1 x2 y2 around every middle."""
    half = side * CELL_PX * BALL_OF_SQUARE / 2
    net.constant(f"reach{side}", np.array([-half, -half, half, half], np.float32))
    net.node("Add", ["middles", f"reach{side}"], f"boxes{side}")
    return f"boxes{side}"


class _NetWriter:
    """Nodes and constants of a graph as protobuf; the numbers of fields are those of onnx.proto."""

    def __init__(self) -> None:
        self.graph = b""

    def constant(self, name: str, value: np.ndarray) -> None:
        kind = FLOAT if value.dtype == np.float32 else INT64
        dims = b"".join(_proto_number(1, n) for n in value.shape)
        little = value.astype(value.dtype.newbyteorder("<")).tobytes()
        self.graph += _proto_part(5, dims + _proto_number(2, kind) + _proto_text(8, name) + _proto_part(9, little))

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        body = b"".join(_proto_text(1, name) for name in inputs)
        body += _proto_text(2, output) + _proto_text(4, kind)
        for name, value in attributes.items():
            body += _proto_part(5, _proto_attribute(name, value))
        self.graph += _proto_part(1, body)

    def model(self) -> bytes:
        """The whole file, with the names of the classes as Ultralytics writes them."""
        graph = self.graph + _proto_text(2, "coloured balls")
        graph += _proto_part(11, _proto_value("images", FLOAT, [1, 3, "h", "w"]))
        for name, kind, shape in DETECTOR_SAYS:
            graph += _proto_part(12, _proto_value(name, kind, shape))
        names = _proto_text(1, "names") + _proto_text(2, repr(list(BALL_LABELS)))
        made_by = _proto_text(2, "imgprep demo")
        opset = _proto_part(8, _proto_number(2, OPSET))
        return _proto_number(1, IR_VERSION) + made_by + _proto_part(7, graph) + opset + _proto_part(14, names)


def _proto_attribute(name: str, value: int | list[int]) -> bytes:
    if isinstance(value, list):
        numbers = b"".join(_proto_number(8, n) for n in value)
        return _proto_text(1, name) + numbers + _proto_number(20, 7)
    return _proto_text(1, name) + _proto_number(3, value) + _proto_number(20, 2)


def _proto_value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """An entrance or an exit of the graph: its type, and its sides by number or by name."""
    sides = b""
    for side in shape:
        sides += _proto_part(1, _proto_text(2, side) if isinstance(side, str) else _proto_number(1, side))
    tensor = _proto_number(1, kind) + _proto_part(2, sides)
    return _proto_text(1, name) + _proto_part(2, _proto_part(1, tensor))


def _proto_varint(n: int) -> bytes:
    found = b""
    while n > 127:
        found += struct.pack("B", n & 127 | 128)
        n >>= 7
    return found + struct.pack("B", n)


def _proto_number(field: int, n: int) -> bytes:
    return _proto_varint(field << 3) + _proto_varint(n)


def _proto_part(field: int, body: bytes) -> bytes:
    return _proto_varint(field << 3 | 2) + _proto_varint(len(body)) + body


def _proto_text(field: int, text: str) -> bytes:
    return _proto_part(field, text.encode())
