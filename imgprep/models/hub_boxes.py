"""Detectors of transformers: DETR, RT-DETR, RT-DETRv2 and the like; zero-shot ones by words."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from imgprep.models.described import files_digest, hub_architecture, hub_config
from imgprep.models.found import FindBoxes, FoundBoxes, checked_scores, names_of
from imgprep.models.spec import HubSpec

# They look for what they are told in words.
BY_WORDS = ("GroundingDino", "MMGroundingDino", "OwlViT", "Owlv2", "OmDetTurbo")
HUB_WEIGHTS = (".safetensors", ".bin")


def spec_of_hub_detector(model: str) -> HubSpec:
    """Of a folder, or of a name on the Hub. ValueError where it is none for detection."""
    _, revision, arch = hub_architecture(model, "ForObjectDetection", "object detection")
    if not arch.startswith(BY_WORDS):
        # The others have it within processor_config.json.
        hub_config(model, "preprocessor_config.json")
    return HubSpec(
        path=model,
        digest=revision or files_digest(model, "*.json", "*.txt", "*.[sb]*"),
        gives=("boxes",),
        bands=3,
        window=None,
        fixed=False,
        batch=None,
        classes=False,
        revision=revision,
        arch=arch,
    )


def check_hub_detector(spec: HubSpec, labels: Sequence[str], model: str) -> None:
    """ValueError where words to look for, or the folder's weights, are missing."""
    if needs_words(spec) and not labels:
        fix = "labels=['a cat', 'a remote control']"
        raise ValueError(f"{model} looks for what it is told in words: give {fix}")
    if not os.path.isdir(spec.path):
        return
    if not any(name.endswith(HUB_WEIGHTS) for name in os.listdir(spec.path)):
        told = "has a description and no weights (model.safetensors)"
        raise ValueError(f"{model!r} {told}: copy the whole folder")


def needs_words(spec: HubSpec) -> bool:
    return spec.arch.startswith(BY_WORDS)


def hub_detector(spec: HubSpec, labels: Sequence[str], model: str) -> FindBoxes:
    """(picture, least score) -> what was found in it."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # Each core has a worker already.
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = {"pretrained_model_name_or_path": spec.path, "revision": spec.revision}
    net = getattr(transformers, spec.arch).from_pretrained(**where).to(device).eval()
    ask = _by_words(net, where, list(labels)) if needs_words(spec) else _by_classes(net, where)

    def find(image: np.ndarray, threshold: float) -> FoundBoxes:
        with torch.inference_mode():
            answer = ask(image, threshold)
        boxes = answer["boxes"].float().cpu().numpy().reshape(-1, 4)
        scores = answer["scores"].float().cpu().numpy().reshape(-1)
        checked_scores(scores, boxes, model)
        said = answer.get("text_labels")
        if said is None:
            names = list(labels) or net.config.id2label
            said = names_of([int(n) for n in answer["labels"]], names, model)
        return FoundBoxes(boxes, scores, [str(one) for one in said])

    return find


def _by_classes(net: Any, where: dict[str, Any]) -> Callable[[np.ndarray, float], dict[str, Any]]:
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(**where)

    def ask(image: np.ndarray, threshold: float) -> dict[str, Any]:
        given = processor(images=[image], return_tensors="pt").to(net.device)
        outputs = net(**given)
        _refuse_nan(outputs)
        sizes = [image.shape[:2]]
        return processor.post_process_object_detection(
            outputs, threshold=threshold, target_sizes=sizes
        )[0]

    return ask


def _by_words(
    net: Any, where: dict[str, Any], words: list[str]
) -> Callable[[np.ndarray, float], dict[str, Any]]:
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(**where)

    def ask(image: np.ndarray, threshold: float) -> dict[str, Any]:
        given = processor(images=image, text=[words], return_tensors="pt").to(net.device)
        outputs = net(**given)
        _refuse_nan(outputs)
        more: dict[str, Any] = {"threshold": threshold, "target_sizes": [image.shape[:2]]}
        if "GroundingDino" in type(net).__name__:
            more |= {"text_threshold": threshold, "input_ids": given["input_ids"]}
        else:
            more["text_labels"] = [words]
        answer = processor.post_process_grounded_object_detection(outputs, **more)[0]
        answer["text_labels"] = [nearest_word(one, words) for one in answer["text_labels"]]
        return answer

    return ask


def nearest_word(said: str, words: Sequence[str]) -> str:
    """Which of the words asked for is meant by the pieces of them that a model repeats.

    >>> nearest_word("remote", ["a cat", "a remote control"])
    'a remote control'
    """
    pieces = {*said.lower().split()}
    shared = [len(pieces & {*word.lower().split()}) for word in words]
    most = max(shared)
    return words[shared.index(most)] if most else said


def _refuse_nan(outputs: Any) -> None:
    """A score that is no number is below every threshold, and would be lost in silence."""
    logits = getattr(outputs, "logits", None)
    if logits is not None and bool(logits.isnan().any()):
        raise ValueError("the model gives NaN: its weights, or what it was given, are bad")
