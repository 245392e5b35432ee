"""Where pictures go: a store for each size, and whether it lets us in."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imgprep import dataset, engine
from imgprep.io.stores import Store
from imgprep.resume.source import check_apart


def check(
    target: str,
    sizes: Sequence[str],
    *,
    credentials_env: str | None = None,
) -> None:
    """Before hours of work: would `upload` get in? Raises as it does, and creates what is missing.

    A dry run asks nobody.
    """
    stores = stores_of(whole_target(target, sizes), sizes, credentials_env)
    if not engine.current().dry_run:
        for store in stores.values():
            store.ready()


def whole_target(target: str, sizes: Sequence[str]) -> str:
    """The target with {variant} in it, where there are sizes; a folder as an absolute path."""
    if not isinstance(target, str | os.PathLike) or not os.fspath(target):
        known = "az://container, s3://bucket, gs://bucket or a folder"
        raise ValueError(f"target is {known}, not {target!r}")
    whole = os.fspath(target).rstrip("/")
    if any(sizes) and "{variant}" not in whole:
        whole += "/{variant}"
    # Every process has a memory of its own.
    if whole.startswith("memory:") and engine.workers():
        fix = "imgprep.session('local', workers=0) works in it"
        raise ValueError(f"memory:// is this process's own: {fix}")
    return whole if "://" in whole else os.path.abspath(os.path.expanduser(whole))


def check_target_apart(stores: Iterable[Store], source: Any, out: str) -> None:
    """ValueError where objects would land among the source's pictures or in a dataset folder.

    There they would be read as pictures of yours, and be files that no stage wrote.
    """
    for store in stores:
        if "://" in store.uri:
            continue
        place = os.path.realpath(store.uri)
        check_apart(source, place)
        for home in (place, *map(str, Path(place).parents)):
            if home == os.path.realpath(out) or dataset.exists(home):
                told = f"{place!r} lies in the dataset folder {home!r}"
                raise ValueError(f"{told}: name a folder beside it")


def stores_of(target: str, sizes: Sequence[str], credentials_env: str | None) -> dict[str, Store]:
    """The store of each size."""
    return {size: Store(target.replace("{variant}", size), credentials_env) for size in sizes}
