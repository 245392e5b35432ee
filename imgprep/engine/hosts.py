"""Does every host of a cluster see the paths that a run reads and writes?"""

import os
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from imgprep.dataset.files import STARTED, Folder
from imgprep.engine.session import at_close, name

ANSWER_S = 120  # a busy host begins its first worker late
MOST_PATHS = 1000  # that hosts are asked for

_seen_folders: set[str] = set()  # by all hosts, as far as they were asked


def check_hosts(folder: Folder, reads: Callable[[], Iterable[str]] = tuple) -> None:
    """ValueError where another host of the cluster lacks what is a local path here.

    folder: is written to. reads: the local paths of files that are read; is called where there are
    other hosts, and one file of each of their folders is looked for. Nothing is asked without Ray.
    """
    others = _other_nodes() if name() == "ray" else []
    if not others:
        return
    if not folder.remote and folder.path not in _seen_folders:
        # A file with a name of its own: another host may have an empty folder at the same path.
        mark = f"{STARTED}/seen-{uuid.uuid4().hex}"
        folder.put(mark, b"")
        try:
            _ask(others, {folder.full(mark): folder.path})
        finally:
            folder.delete(mark)
        _seen_folders.add(folder.path)
    paths = _one_of_each_folder(reads())
    if paths:
        _ask(others, {path: path for path in paths})


@at_close
def _forget_folders() -> None:
    _seen_folders.clear()


def _one_of_each_folder(paths: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for path in paths:
        home = os.path.dirname(path)
        if home not in found and os.path.exists(path):  # else it is missing everywhere
            found[home] = path
            if len(found) == MOST_PATHS:
                break
    return list(found.values())


def _other_nodes() -> list[dict[str, Any]]:
    """Those that compute: the head often has no cores to give."""
    import ray

    if not ray.is_initialized():
        return []
    mine = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != mine]
    computing = [node for node in nodes if node["Resources"].get("CPU")]
    return sorted(computing, key=lambda node: node["NodeManagerHostname"])


def _ask(nodes: list[dict[str, Any]], shown: dict[str, str]) -> None:
    """shown: a path, and what a person is told of it where a host does not have it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # num_cpus=0: a busy cluster must answer before its work is done, not after.
    asked = ray.remote(num_cpus=0, max_retries=0)(_missing_there)
    answers = {}
    for node in nodes:
        # soft=False: with True another host would answer in its place.
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        host = node["NodeManagerHostname"]
        answers[host] = asked.options(scheduling_strategy=there).remote(list(shown))
    for host, answer in answers.items():
        try:
            missing = ray.get(answer, timeout=ANSWER_S)
        except ray.exceptions.RayTaskError as e:  # its Python lacks what ours has
            told = f"the host {host} of the cluster does not run this imgprep"
            raise ValueError(f"{told} ({e.cause}): install the same version there") from None
        except ray.exceptions.RayError:  # it is gone, or too slow to tell
            # No refusal: a host that is gone gets no work either.
            continue
        if missing:
            told = f"{shown[missing[0]]} is a path that the host {host} of the cluster does not see"
            raise ValueError(f"{told}: use a URI, or a disk that all hosts have at this place")


def _missing_there(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]
