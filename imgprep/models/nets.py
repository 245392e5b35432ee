"""What computes for `models`: onnxruntime for a file `*.onnx`, transformers for a folder or a name on the Hub.

`load` gives a function: (n, h, w, bands) in; out come n arrays (h, w, channels), or n lists of objects.
"""

import glob
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from imgprep import project
from imgprep.tiles.instances import Instance, cropped

Net = Callable[[np.ndarray], list[Any]]


def spec(model: str) -> dict[str, Any]:
    """What a model says of itself, read without loading it: plain values, and a `digest` of its files.

    gives: "classes", "objects" or both. bands: 0 where it does not say. window: (width, height) or
    None; fixed: it takes no other. batch: pictures per run, or None. classes: its answer is no probability.
    """
    if not isinstance(model, str) or not model:
        raise ValueError(f"model is a file, a folder or a name on the Hub, not {model!r}")
    path = project.absolute(model)  # workers may start elsewhere
    if not model.lower().endswith(".onnx"):
        return _hub_spec(path if os.path.isdir(path) else model)
    if not os.path.isfile(path):
        raise ValueError(f"there is no model file {model!r}")
    return _onnx_spec(path)


def load(spec: dict[str, Any], threshold: float) -> Net:
    return _onnx(spec, threshold) if spec["kind"] == "onnx" else _transformers(spec, threshold)


def _needs(extra: str, *packages: str) -> None:
    if not all(map(importlib.util.find_spec, packages)):
        raise ValueError(f"this model needs `pip install imgprep[{extra}]`")


def _digest(files: Sequence[str]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        with open(name, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _full_size(answer: np.ndarray, size_wh: tuple[int, int], how: int) -> np.ndarray:
    """(h, w, channels) float32 of an answer that may be smaller than its picture: pixel centres as in torch."""
    answer = np.ascontiguousarray(answer, np.float32)
    return answer if answer.shape[1::-1] == size_wh else cv2.resize(answer, size_wh, interpolation=how)


# ONNX ----------------------------------------------------------------------------------------------------------------


def _session(path: str) -> Any:
    _needs("onnx", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # each core has a worker already
    options.log_severity_level = 3
    there = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(path, options, providers=there)
    except Exception as e:  # onnxruntime's own classes have no common one
        raise ValueError(f"{path} is no model that onnxruntime opens: {str(e).splitlines()[0][:200]}") from None


def _onnx_spec(path: str) -> dict[str, Any]:
    session = _session(path)
    entry, outputs = session.get_inputs()[0], session.get_outputs()
    shape = [s if isinstance(s, int) and s > 0 else 0 for s in entry.shape]
    if len(shape) == 3:  # Mask R-CNN, as torchvision exports it
        shape.insert(0, 1)
    if len(shape) != 4 or entry.type not in ("tensor(float)", "tensor(float16)", "tensor(uint8)"):
        told = f"{path} takes {entry.type} {entry.shape}"
        raise ValueError(f"{told}: a model of pictures takes (N, C, H, W) or (N, H, W, C), float or uint8")
    count, a, b, c = shape
    is_last = bool(c) and (not a or c < a)  # there are fewer bands than pixels
    bands, h, w = (c, a, b) if is_last else (a, b, c)
    names = [o.name.lower() for o in outputs]
    objects = _RCNN <= {*names}
    said = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items() if k in _UINT8}
    beside = os.path.join(os.path.dirname(path), "preprocessor_config.json")
    if os.path.isfile(beside):
        with open(beside, "rb") as file:
            said = {k: v for k, v in json.load(file).items() if k in _UINT8} | said
    return {
        "kind": "onnx",
        "path": path,
        "digest": _digest(glob.glob(glob.escape(path) + "*")),  # weights of more than 2 GB stand in a file beside it
        "gives": ["objects" if objects else "classes"],
        "bands": bands,
        "window": (w, h) if w and h else None,
        "fixed": bool(w and h),
        "batch": 1 if objects else count or None,
        "classes": outputs[0].type not in ("tensor(float)", "tensor(float16)", "tensor(double)"),
        "is_last": is_last,
        "uint8": _UINT8 | said,
    }


_RCNN = {"boxes", "labels", "scores", "masks"}
_UINT8 = {"rescale_factor": 1 / 255, "image_mean": 0.0, "image_std": 1.0}  # as transformers' processors call them


def _onnx(spec: dict[str, Any], threshold: float) -> Net:
    session, said = _session(spec["path"]), spec["uint8"]
    entry, names = session.get_inputs()[0], [o.name.lower() for o in session.get_outputs()]
    mean, std = (np.asarray(said[k], np.float32) for k in ("image_mean", "image_std"))

    def net(stack: np.ndarray) -> list[Any]:
        n, size_wh = len(stack), stack.shape[2:0:-1]
        if stack.dtype == np.uint8 and "uint8" not in entry.type:
            stack = (stack * np.float32(said["rescale_factor"]) - mean) / std
        stack = stack.astype({"tensor(float)": np.float32, "tensor(float16)": np.float16}.get(entry.type, np.uint8))
        stack = stack if spec["is_last"] else np.ascontiguousarray(stack.transpose(0, 3, 1, 2))
        stack = np.resize(stack, (spec["batch"] or n, *stack.shape[1:]))  # a last batch that is too small is filled up
        answers = session.run(None, {entry.name: stack[0] if len(entry.shape) == 3 else stack})
        if spec["wanted"] == "objects":
            found = dict(zip(names, answers, strict=True))
            return [_objects({k: found[k][found["scores"] >= threshold] for k in _RCNN}, size_wh)]
        return [_semantic(a, spec, size_wh) for a in answers[0][:n]]

    return net


def _semantic(answer: np.ndarray, spec: dict[str, Any], size_wh: tuple[int, int]) -> np.ndarray:
    if answer.ndim == 3 and not spec["is_last"]:
        answer = np.moveaxis(answer, 0, -1)
    answer = _full_size(answer, size_wh, cv2.INTER_NEAREST_EXACT if spec["classes"] else cv2.INTER_LINEAR)
    answer = answer.reshape(*size_wh[::-1], -1)
    if spec["activation"] == "sigmoid":
        return 1 / (1 + np.exp(-answer))
    if spec["activation"] == "softmax":
        answer = np.exp(answer - answer.max(2, keepdims=True))
        answer /= answer.sum(2, keepdims=True)
    return answer


def _objects(found: dict[str, np.ndarray], size_wh: tuple[int, int]) -> list[Instance | None]:
    """Of Mask R-CNN: boxes (n, 4) x1 y1 x2 y2; masks (n, 1, h, w) of the picture, or (n, 1, 28, 28) of each box."""
    out = []
    masks = found["masks"].reshape(len(found["boxes"]), *found["masks"].shape[-2:])
    for box, label, score, mask in zip(found["boxes"], found["labels"], found["scores"], masks, strict=True):
        x, y = 0, 0
        if mask.shape[::-1] != size_wh:
            (x, y), (right, below) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
            mask = cv2.resize(mask, (max(1, right - x), max(1, below - y)), interpolation=cv2.INTER_LINEAR)
        out.append(cropped(mask >= 0.5, str(label), score, int(x), int(y)))
    return out


# transformers --------------------------------------------------------------------------------------------------------


def _hub_spec(model: str) -> dict[str, Any]:
    _needs("models", "torch", "transformers")
    config, revision = _config(model, "config.json")
    arch = (config.get("architectures") or ["nothing"])[0]
    if not arch.endswith("Segmentation"):
        raise ValueError(f"{model} is for {arch}: name a model for segmentation")
    size = _config(model, "preprocessor_config.json")[0].get("size", {})
    size = size if isinstance(size, dict) else {}
    local = glob.glob(os.path.join(glob.escape(model), "*.json")) + glob.glob(
        os.path.join(glob.escape(model), "*.[sb]*")
    )
    return {
        "kind": "transformers",
        "path": model,
        "revision": revision,
        "digest": revision or _digest(local),
        "gives": ["classes"] if arch.endswith("ForSemanticSegmentation") else ["objects", "classes"],
        "arch": arch,
        "bands": config.get("num_channels", 3),
        "window": (size.get("width", 512), size.get("height", 512)),
        "fixed": False,
        "batch": None,
        "classes": not arch.endswith("ForSemanticSegmentation"),
    }


def _config(model: str, name: str) -> tuple[dict[str, Any], str | None]:
    """A model's JSON file, and the commit that its name on the Hub stands for now: every worker gets that one."""
    from huggingface_hub import errors, hf_hub_download

    path, revision = os.path.join(model, name), None
    try:
        if not os.path.isdir(model):
            path = hf_hub_download(model, name)
            revision = os.path.basename(os.path.dirname(path))
        with open(path, "rb") as file:
            return json.load(file), revision
    except (errors.HFValidationError, errors.RepositoryNotFoundError):
        told = "no folder here, and no model on the Hub (or a private one: set HF_TOKEN)"
        raise ValueError(f"{model!r} is {told}") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        told = "no folder here, and the Hub cannot be asked: download it where there is a network, name its folder"
        raise ValueError(f"{model!r} is {told}") from None
    except (errors.EntryNotFoundError, FileNotFoundError):
        raise ValueError(f"{model!r} has no {name}: it is no model that transformers saved") from None


def _transformers(spec: dict[str, Any], threshold: float) -> Net:
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)  # each core has a worker already
    processor = transformers.AutoImageProcessor.from_pretrained(spec["path"], revision=spec["revision"])
    kind = getattr(transformers, spec["arch"])
    model = kind.from_pretrained(spec["path"], revision=spec["revision"]).to(device).eval()

    def net(stack: np.ndarray) -> list[Any]:
        h, w = stack.shape[1:3]
        plain = {} if stack.dtype == np.uint8 else {"do_rescale": False}
        inputs = processor(images=list(stack), do_resize=False, return_tensors="pt", **plain).to(device)
        with torch.inference_mode():
            outputs = model(**inputs)
            if not spec["classes"]:
                logits = torch.nn.functional.interpolate(outputs.logits.float(), (h, w), mode="bilinear")
                odds = logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid()
                return list(odds.permute(0, 2, 3, 1).cpu().numpy())
        sizes = [(h, w)] * len(stack)
        if spec["wanted"] == "classes":
            maps = processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
            return [m.cpu().numpy()[..., None].astype(np.float32) for m in maps]
        found = processor.post_process_instance_segmentation(outputs, threshold=threshold, target_sizes=sizes)
        names = model.config.id2label
        return [
            [
                cropped(one["segmentation"].cpu().numpy() == s["id"], names[s["label_id"]], s["score"])
                for s in one["segments_info"]
            ]
            for one in found
        ]

    return net
