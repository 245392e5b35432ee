"""8,000 JPEGs of 256 x 256 into a torch DataLoader: our folder beside WebDataset, MosaicML Streaming and LitData.

See README.md here.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from measure import child, measured
from site_of_jpegs import CACHE, jpegs

RIVALS = ["webdataset==1.0.2", "mosaicml-streaming==0.13.0", "litdata==0.2.76", "lightning-utilities", "tifffile"]
RIVALS += ["braceexpand", "brotli", "zstd", "python-snappy", "xxhash<4", "catalogue"]  # what these import
# Streaming imports torchvision for classes that are not used here; its wheel would bring CUDA's torch.
STAND_INS = {"__init__": "", "datasets": "VisionDataset = object", "transforms/__init__": ""}
STAND_INS["transforms/functional"] = "to_tensor = None"
SHUFFLED = 1000  # rows that each of them mixes
BATCH = 64
WORKERS = 2
SIDE = 256


def rivals_python() -> Path:
    """The interpreter of a venv with the others; they see torch, and what else is here, by a path."""
    home = CACHE / "loaders"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        site = next(home.glob("lib/python*/site-packages"))
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "ours.pth").write_text(f"{ours}\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *RIVALS], check=True)
        for name, text in STAND_INS.items():
            place = site / "torchvision" / f"{name}.py"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        (home / "ready").touch()
    return python


# What is read -------------------------------------------------------------------------------------


def pictures(count: int) -> Iterator[tuple[int, bytes]]:
    """(number, JPEG) of each: what all of them store."""
    from imgprep import dataset

    ds = dataset.open(str(CACHE / f"folder-{count}"))
    for number in range(count):
        (data,) = ds.pictures("train", [number])
        yield number, data


def make_folder(count: int) -> None:
    import pyarrow as pa

    import imgprep
    from imgprep.stages import images

    home = jpegs()
    names = [f"{n:05d}" for n in range(count)]
    paths = [str(home / f"{n % 2000:05d}.jpg") for n in range(count)]
    table = pa.table({"image_id": names, "label": list(range(count)), "source": paths})
    imgprep.session("local", 2)
    images.download({"train": table}, str(CACHE / f"folder-{count}"), size_wh=[SIDE, SIDE])
    imgprep.close()


def make_webdataset(count: int, home: Path) -> None:
    import webdataset as wds

    with wds.ShardWriter(str(home / "%06d.tar"), maxcount=count // 8, verbose=0) as sink:
        for number, data in pictures(count):
            sink.write({"__key__": f"{number:05d}", "jpg": data, "cls": number})


def make_streaming(count: int, home: Path) -> None:
    from streaming import MDSWriter

    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(home), columns=columns, size_limit=8 << 20) as sink:
        for number, data in pictures(count):
            sink.write({"image": data, "label": number})


def make_litdata(count: int, home: Path) -> None:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(home), chunk_bytes=8 << 20)
    for number, data in pictures(count):
        writer.add_item(number, {"image": data, "label": number})
    writer.done()
    writer.merge(num_workers=1)


# Who reads it -------------------------------------------------------------------------------------


def decoded(data: bytes) -> Any:
    """The same decoder for all: what is compared is how the bytes come."""
    import simplejpeg

    return simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True)


def kept(data: bytes) -> bytes:
    return data


def of_ours(home: Path, finish: Callable) -> Any:
    from imgprep import dataset

    columns = ["image", "label"]
    return dataset.open(str(home)).torch_rows("train", columns=columns, decode=finish, shuffle_rows=SHUFFLED)


def of_datasets(home: Path, finish: Callable) -> Any:
    """The way of `datasets` itself: mapped from disk, shuffled over all rows."""
    import datasets

    found = datasets.load_dataset(str(home), split="train", cache_dir=str(CACHE / "hf"))
    found = found.select_columns(["image", "label"]).cast_column("image", datasets.Image(decode=False))

    def finished(rows: dict) -> dict:
        return {"image": [finish(one["bytes"]) for one in rows["image"]], "label": rows["label"]}

    return found.with_transform(finished)


def of_webdataset(home: Path, finish: Callable) -> Any:
    import webdataset as wds

    shards = sorted(map(str, home.glob("*.tar")))
    read = wds.WebDataset(shards, shardshuffle=len(shards), nodesplitter=None)
    return read.shuffle(SHUFFLED).map(lambda row: {"image": finish(row["jpg"]), "label": int(row["cls"])})


def of_streaming(home: Path, finish: Callable) -> Any:
    from streaming import StreamingDataset

    class Read(StreamingDataset):
        def __getitem__(self, at: int) -> dict:
            row = super().__getitem__(at)
            return {"image": finish(row["image"]), "label": row["label"]}

    return Read(local=str(home), shuffle=True, shuffle_algo="py1e", batch_size=BATCH)


def of_litdata(home: Path, finish: Callable) -> Any:
    from litdata import StreamingDataset

    class Read(StreamingDataset):
        def __getitem__(self, at: Any) -> dict:
            row = super().__getitem__(at)
            return {"image": finish(row["image"]), "label": row["label"]}

    return Read(str(home), shuffle=True)


READERS = {
    "imgprep": of_ours,
    "datasets": of_datasets,
    "webdataset": of_webdataset,
    "mosaicml-streaming": of_streaming,
    "litdata": of_litdata,
}
MAKERS = {"webdataset": make_webdataset, "mosaicml-streaming": make_streaming, "litdata": make_litdata}


def read(name: str, what: str, count: int, epochs: int) -> None:
    """rows/s of each epoch but the first, in a fresh process."""
    import torch

    finish = decoded if what == "decoded" else kept
    home = CACHE / f"{name}-{count}" if name in MAKERS else CACHE / f"folder-{count}"
    rows = READERS[name](home, finish)
    loader_of = torch.utils.data.DataLoader
    if name == "litdata":
        from litdata import StreamingDataLoader as loader_of
    more = {"shuffle": True} if name == "datasets" else {}
    loader = loader_of(
        rows, batch_size=BATCH, num_workers=WORKERS, collate_fn=list, persistent_workers=True, **more
    )
    seen: set[int] = set()

    def epoch() -> None:
        seen.clear()
        for batch in loader:
            seen.update(int(row["label"]) for row in batch)

    rates, cpus = [], []
    for number in range(epochs):
        found = measured(epoch)
        assert len(seen) > 0.98 * count, (name, len(seen))
        if number:  # the first one starts the workers
            rates.append(len(seen) / found["s"])
            cpus.append(1e6 * found["cpu_s"] / len(seen))
    print(json.dumps({"rates": rates, "cpus": cpus}))


def read_ray(count: int) -> None:
    """What Ray Train's iterator gives of our folder: Ray Data's batches of torch."""
    import ray

    import imgprep
    from imgprep import dataset

    imgprep.session("ray", WORKERS)
    from imgprep import engine

    engine.start_ray()
    files = dataset.open(str(CACHE / f"folder-{count}")).data_files(split="train")
    rates = []
    for _ in range(3):
        began, seen = time.perf_counter(), 0
        for batch in ray.data.read_parquet(files, columns=["image", "label"]).iter_batches(batch_size=BATCH):
            seen += len([decoded(one["bytes"]) for one in batch["image"]])
        rates.append(seen / (time.perf_counter() - began))
    imgprep.close()
    print(json.dumps({"rates": rates[1:]}))


def made_rivals(python: Path, count: int, names: Iterable[str]) -> None:
    """The same pictures as each of them stores them."""
    for name in names:
        home = CACHE / f"{name}-{count}"
        if not home.exists():
            new = CACHE / f".{name}"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            child(python, __file__, "--step", "make", name, count, new)
            os.rename(new, home)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--ray", action="store_true", help="Ray Data's own iterator over the folder, too")
    parser.add_argument("--step", nargs="+")
    given = parser.parse_args()
    if given.step:
        step, *rest = given.step
        if step == "ray":
            return read_ray(int(rest[0]))
        if step == "make":
            home = Path(rest[2])
            return MAKERS[rest[0]](int(rest[1]), home)
        return read(rest[0], rest[1], int(rest[2]), given.epochs)
    python = rivals_python()
    make_folder(given.count)
    made_rivals(python, given.count, MAKERS)
    for what in ("bytes", "decoded"):
        best = dict.fromkeys(READERS, 0.0)
        least = dict.fromkeys(READERS, float("inf"))
        others = []
        for _ in range(given.rounds):  # in turns: a busy minute is everybody's
            for name in READERS:
                step = ["--epochs", given.epochs, "--step", "read", name, what, given.count]
                found = child(python, __file__, *step)
                best[name] = max(best[name], *found["rates"])
                least[name] = min(least[name], *found["cpus"])
                others.append(found["others"])
        peer = max((name for name in best if name not in ("imgprep", "datasets")), key=best.__getitem__)
        for name, rate in best.items():
            of_best = ""
            if name != peer:
                cpu = least[peer] / least[name]
                of_best = f"x{rate / best[peer]:.2f} of {peer}, CPU x{cpu:.2f} (floor 0.9, goal 1)"
            print(f"{what:8} {name:20}{rate:8.0f} rows/s{least[name]:7.0f} CPU us each  {of_best}", flush=True)
        print(f"{what:8} others took {sum(others) / len(others):.0%} of the machine", flush=True)
    if given.ray:
        found = child(sys.executable, __file__, "--step", "ray", given.count)
        print(f"decoded  Ray Data's iterator {max(found['rates']):8.0f} rows/s", flush=True)


if __name__ == "__main__":
    main()
