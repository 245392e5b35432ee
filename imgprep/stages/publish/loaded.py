"""Opens a dataset as anyone would, with `datasets` alone, streaming and not, and prints what it
found as JSON.

A process of its own: a stream that is left early may abort the interpreter when it ends (Arrow's
threads), and neither the caches nor the modules of the caller are to be seen. `python loaded.py
WHERE REVISION MOST_BYTES`.
"""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

COUNTED = "image_id"
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
# In 400 MiB less: without torch, without Xet's blocks, without what the allocators keep.
LIGHT = {
    "USE_TORCH": "0",
    "HF_HUB_DISABLE_XET": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
}


def load_back(
    where: str, revision: str | None = None, *, most_bytes: int = 1 << 62, token: str = ""
) -> dict[str, Any]:
    """{config: {split: {"streamed": rows, "loaded": rows or None}}}.

    where: a folder, or a dataset on the Hub. Streaming reads one column of every file and one whole
        row per split; the other mode, for which `datasets` copies a dataset into its cache, is for
        configs of at most most_bytes.
    ValueError with the last line of what `datasets` said when it cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="imgprep-loaded-") as cache:
        done = subprocess.run(
            # -P: a file of the user's called datasets.py must not be found first.
            [sys.executable, "-P", __file__, where, revision or "", str(most_bytes)],
            env=_reader_environment(where, cache, token),
            capture_output=True,
            text=True,
            errors="replace",
        )
    # The last line only: what is imported may print on its way.
    answer = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not answer:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        last = said[-1] if said else f"exit code {done.returncode}"
        raise ValueError(f"`datasets` cannot load it: {last[:300]}")
    return json.loads(answer[-1])


def _reader_environment(
    where: str,
    cache: str,
    token: str,
) -> dict[str, str]:
    found = {**os.environ}
    # Its own caches; the saved login stays where it is.
    found["HF_DATASETS_CACHE"] = f"{cache}/datasets"
    found["HF_HUB_CACHE"] = f"{cache}/hub"
    found |= QUIET | LIGHT
    if token:
        found["HF_TOKEN"] = token
    if os.path.isdir(where):
        found |= OFFLINE
    return found


def _open_all(
    where: str,
    revision: str | None,
    most_bytes: int,
) -> dict[str, Any]:
    from datasets import get_dataset_config_names

    found: dict[str, Any] = {}
    for config in get_dataset_config_names(where, revision=revision):
        found[config] = _open_config(where, config, revision, most_bytes)
    return found


def _open_config(
    where: str, config: str, revision: str | None, most_bytes: int
) -> dict[str, dict[str, int | None]]:
    from datasets import load_dataset

    named = {"path": where, "name": config, "revision": revision}
    streams = load_dataset(**named, streaming=True, columns=[COUNTED])
    # Not a row group for one row.
    rows = load_dataset(**named, streaming=True, batch_size=1)
    splits = next(iter(rows.values())).info.splits.values()
    is_small = sum(split.num_bytes for split in splits) <= most_bytes
    whole = load_dataset(**named, columns=[COUNTED]) if is_small else None
    found = {}
    for split, stream in streams.items():
        streamed = sum(len(batch[COUNTED]) for batch in stream.iter(batch_size=10_000))
        loaded = None if whole is None else len(whole[split])
        # One whole row: that the column of pictures can be read is what is to be proved.
        next(iter(rows[split]))
        found[split] = {"streamed": streamed, "loaded": loaded}
    return found


if __name__ == "__main__":
    result = _open_all(sys.argv[1], sys.argv[2] or None, int(sys.argv[3]))
    print(json.dumps(result), flush=True)
    # Without the interpreter's end, in which Arrow's threads of a stream that was left may abort.
    os._exit(0)
