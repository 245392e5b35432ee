"""The pictures of loader.py in a training loop of Ray Train: its own iterator beside our `torch_rows`, in turns.

python tests/benchmarks/loader_train.py [--count 8000] [--rounds 2]

One TorchTrainer with one worker on two cores; the loop decodes each picture and does nothing else. Ray's way is
`get_dataset_shard(...).iter_batches` over the folder's files, which tasks beside the loop read; ours a DataLoader
with one process beside the loop, which decodes there. An epoch that starts what it needs comes first.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from loader import BATCH, CACHE, SHUFFLED, decoded, make_folder
from measure import child

EPOCHS = 3


def of_ray() -> Iterator[int]:
    """Labels, as far as their pictures are decoded."""
    import ray.train

    shard = ray.train.get_dataset_shard("train")
    for batch in shard.iter_batches(batch_size=BATCH, local_shuffle_buffer_size=SHUFFLED):
        for one, label in zip(batch["image"], batch["label"], strict=True):
            decoded(one["bytes"])
            yield int(label)


def of_rows(loader: Any) -> Iterator[int]:
    for batch in loader:
        for row in batch:
            yield row["label"]


def loop(config: dict[str, Any]) -> None:
    """In Ray Train's worker; what it measured is left in a file."""
    from torch.utils.data import DataLoader

    from imgprep import dataset

    home = str(CACHE / f"folder-{config['count']}")
    rows = dataset.open(home).torch_rows("train", columns=["image", "label"], decode=decoded, shuffle_rows=SHUFFLED)
    loader = DataLoader(rows, batch_size=BATCH, num_workers=1, collate_fn=list, persistent_workers=True)
    epochs = {"ray": of_ray, "imgprep": lambda: of_rows(loader)}
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(EPOCHS):
        for name, epoch in epochs.items():
            began = time.perf_counter()
            seen = {*epoch()}
            assert len(seen) > 0.98 * config["count"], (name, len(seen))
            rates[name].append(config["count"] / (time.perf_counter() - began))
    with open(config["found"], "w") as file:
        json.dump({name: some[1:] for name, some in rates.items()}, file)


def train(count: int) -> None:
    import ray
    from ray.train import DataConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    import imgprep
    from imgprep import dataset, engine

    imgprep.session("ray", 2)
    engine.start_ray()
    files = dataset.open(str(CACHE / f"folder-{count}")).data_files(split="train")
    with tempfile.TemporaryDirectory() as home:
        found = f"{home}/found.json"
        trainer = TorchTrainer(
            loop,
            train_loop_config={"count": count, "found": found},
            scaling_config=ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(storage_path=home),
            datasets={"train": ray.data.read_parquet(files, columns=["image", "label"])},
            dataset_config=DataConfig(datasets_to_split=[]),
        )
        trainer.fit()
        with open(found) as file:
            print(file.read())
    imgprep.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--train", action="store_true")
    given = parser.parse_args()
    if given.train:
        return train(given.count)
    make_folder(given.count)
    best = {"ray": 0.0, "imgprep": 0.0}
    others = []
    for _ in range(given.rounds):
        found = child(sys.executable, __file__, "--train", "--count", given.count)
        best = {name: max(rate, *found[name]) for name, rate in best.items()}
        others.append(found["others"])
    print(f"Ray Train's iterator {best['ray']:.0f} rows/s, our rows in the same loop {best['imgprep']:.0f}: "
          f"x{best['imgprep'] / best['ray']:.2f} (floor 0.9); "
          f"others took {sum(others) / len(others):.0%} of the machine")  # fmt: skip


if __name__ == "__main__":
    main()
