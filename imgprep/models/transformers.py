"""Models of the package transformers, by their folder or their name on the Hub."""

from collections.abc import Callable
from typing import Any

import numpy as np

from imgprep.models.described import files_digest, hub_architecture, hub_config
from imgprep.models.spec import HubSpec
from imgprep.tiles.instances import Instance, cropped

# Of a model whose processor says nothing.
SIDE_PX = 512


def spec_of_hub(model: str) -> HubSpec:
    """Of a folder, or of a name on the Hub. ValueError where it is none for segmentation."""
    config, revision, arch = hub_architecture(model, "Segmentation", "segmentation")
    size = hub_config(model, "preprocessor_config.json")[0].get("size", {})
    if not isinstance(size, dict):
        size = {}
    is_semantic = arch.endswith("ForSemanticSegmentation")
    return HubSpec(
        path=model,
        digest=revision or files_digest(model, "*.json", "*.[sb]*"),
        gives=("classes",) if is_semantic else ("objects", "classes"),
        bands=config.get("num_channels", 3),
        window=(size.get("width", SIDE_PX), size.get("height", SIDE_PX)),
        fixed=False,
        batch=None,
        classes=not is_semantic,
        revision=revision,
        arch=arch,
    )


def load_quietly(spec: HubSpec) -> tuple[Any, Any]:
    """(processor, model) on the GPU where there is one. No code that comes with it is run."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # Each core has a worker already.
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = {"pretrained_model_name_or_path": spec.path, "revision": spec.revision}
    processor = transformers.AutoImageProcessor.from_pretrained(**where)
    model = getattr(transformers, spec.arch).from_pretrained(**where)
    return processor, model.to(device).eval()


def net(spec: HubSpec, wanted: str, threshold: float) -> Callable[[np.ndarray], list[Any]]:
    """wanted: "classes" or "objects" of each picture."""
    import torch

    processor, model = load_quietly(spec)

    def run(stack: np.ndarray) -> list[Any]:
        size_hw = stack.shape[1:3]
        more = {} if stack.dtype == np.uint8 else {"do_rescale": False}
        inputs = processor(images=list(stack), do_resize=False, return_tensors="pt", **more)
        with torch.inference_mode():
            outputs = model(**inputs.to(model.device))
            if not spec.classes:
                return _odds(outputs.logits, size_hw)
        sizes = [size_hw] * len(stack)
        if wanted == "classes":
            maps = processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
            return [m.cpu().numpy()[..., None].astype(np.float32) for m in maps]
        found = processor.post_process_instance_segmentation(
            outputs, threshold=threshold, target_sizes=sizes
        )
        return [_instances_of(one, model.config.id2label) for one in found]

    return run


def _odds(logits: Any, size_hw: tuple[int, ...]) -> list[np.ndarray]:
    """Probabilities (h, w, channels) of each picture."""
    import torch

    large = torch.nn.functional.interpolate(logits.float(), size_hw, mode="bilinear")
    odds = large.softmax(1) if large.shape[1] > 1 else large.sigmoid()
    return list(odds.permute(0, 2, 3, 1).cpu().numpy())


def _instances_of(found: dict[str, Any], names: dict[int, str]) -> list[Instance | None]:
    labels = found["segmentation"].cpu().numpy()
    return [
        cropped(labels == one["id"], names[one["label_id"]], one["score"])
        for one in found["segments_info"]
    ]
