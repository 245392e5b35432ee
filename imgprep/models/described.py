"""What a model's folder, or its name on the Hub, says of it without loading it."""

import glob
import hashlib
import importlib.util
import json
import os
from typing import Any

from imgprep.words import extra as command_of


def needs_extra(extra: str, *packages: str) -> None:
    if not all(map(importlib.util.find_spec, packages)):
        raise ValueError(f"this model needs `{command_of(extra)}`")


def files_digest(folder: str, *patterns: str) -> str:
    """Hash of a folder's files of these names: the same models, the same results."""
    whole = hashlib.sha256()
    names = {path for p in patterns for path in glob.glob(os.path.join(glob.escape(folder), p))}
    for path in sorted(names):
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def json_object(path: str) -> dict[str, Any]:
    """What a model's JSON file says. ValueError for another file of that name."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        said = json.loads(data)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ValueError(f"{path} is no JSON that describes a model")
    return said


def hub_architecture(
    model: str, ending: str, task: str, *, path: str = ""
) -> tuple[dict[str, Any], str | None, str]:
    """(config, commit, architecture) of a model of transformers.

    ValueError where its architecture has not this ending: it is for something else than `task`.
    path: where the model lies, if its name says less.
    """
    needs_extra("models", "torch", "transformers")
    config, revision = hub_config(path or model, "config.json")
    arch = (config.get("architectures") or ["nothing"])[0]
    if not arch.endswith(ending):
        raise ValueError(f"{model} is for {arch}: name a model for {task}")
    return config, revision, arch


def hub_config(model: str, name: str) -> tuple[dict[str, Any], str | None]:
    """A model's JSON file, and the commit that its name on the Hub stands for now:
    every worker gets that one.
    """
    from huggingface_hub import errors, hf_hub_download

    path, revision = os.path.join(model, name), None
    try:
        if not os.path.isdir(model):
            path = hf_hub_download(model, name)
            revision = os.path.basename(os.path.dirname(path))
        return json_object(path), revision
    except (errors.HFValidationError, errors.RepositoryNotFoundError):
        told = "no folder here, and no model on the Hub (or a private one: set HF_TOKEN)"
        raise ValueError(f"{model!r} is {told}") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        told = "no folder here, and the Hub cannot be asked: download it where there is a network, name its folder"
        raise ValueError(f"{model!r} is {told}") from None
    except (errors.EntryNotFoundError, FileNotFoundError):
        raise ValueError(
            f"{model!r} has no {name}: it is no model that transformers saved"
        ) from None
