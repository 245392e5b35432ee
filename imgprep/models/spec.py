"""What a model says of itself, read without loading it."""

from dataclasses import dataclass
from typing import Any

# What is done to uint8 pictures where a file says nothing, in the words of transformers.
SCALING = {"rescale_factor": 1 / 255, "image_mean": 0.0, "image_std": 1.0}


@dataclass(frozen=True)
class Spec:
    """Of any model.

    path: its file or folder, or its name on the Hub. digest: of its files: the same model, the
    same results. gives: "classes", "objects" or both, the first by itself. bands: 0 where it does
    not say. window: (width, height) of its pictures or None; fixed: it takes no other. batch:
    pictures per run, or None. classes: its answer is a class, no probability.
    """

    path: str
    digest: str
    gives: tuple[str, ...]
    bands: int
    window: tuple[int, int] | None
    fixed: bool
    batch: int | None
    classes: bool


@dataclass(frozen=True)
class OnnxSpec(Spec):
    """Of a file. is_last: the bands are its last axis. scaling: of uint8 pictures.

    takes_bytes: pictures of 8 bits go in as they are. (For what is told; it does not travel.)
    """

    is_last: bool
    scaling: dict[str, Any]
    takes_bytes: bool = False

    def scaling_told(self) -> str:
        """What becomes of pictures of 8 bits, in words."""
        if self.takes_bytes:
            return "not scaled: it takes them as they are"
        factor = 1 / self.scaling["rescale_factor"]
        mean = self.scaling["image_mean"]
        std = self.scaling["image_std"]
        told = f"divided by {factor:g}"
        if self.scaling == SCALING:
            return f"{told}: its file says nothing of it"
        return f"{told}, less {mean}, divided by {std}: its file says so"

    def plain(self) -> dict[str, Any]:
        """As results depend on it. The order is in their keys, so it stays."""
        return {
            "kind": "onnx",
            "path": self.path,
            "digest": self.digest,
            "gives": list(self.gives),
            "bands": self.bands,
            "window": self.window,
            "fixed": self.fixed,
            "batch": self.batch,
            "classes": self.classes,
            "is_last": self.is_last,
            "uint8": self.scaling,
        }


@dataclass(frozen=True)
class HubSpec(Spec):
    """Of a folder of transformers, or of a name on the Hub. revision: the commit it stands for."""

    revision: str | None
    arch: str

    def scaling_told(self) -> str:
        """What becomes of pictures of 8 bits, in words."""
        return "scaled as its preprocessor_config.json says"

    def plain(self) -> dict[str, Any]:
        """As results depend on it. The order is in their keys, so it stays."""
        return {
            "kind": "transformers",
            "path": self.path,
            "revision": self.revision,
            "digest": self.digest,
            "gives": list(self.gives),
            "arch": self.arch,
            "bands": self.bands,
            "window": self.window,
            "fixed": self.fixed,
            "batch": self.batch,
            "classes": self.classes,
        }


def spec_from(plain: dict[str, Any]) -> OnnxSpec | HubSpec:
    """What `plain` was made of."""
    told = plain | {"gives": tuple(plain["gives"])}
    kind = told.pop("kind")
    # How a model is asked travels with it, and is nothing that it says of itself.
    for name in ("wanted", "activation"):
        told.pop(name, None)
    if kind == "onnx":
        return OnnxSpec(scaling=told.pop("uint8"), **told)
    return HubSpec(**told)
