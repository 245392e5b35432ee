"""`ocr.prepare` over 5,000 pictures on a warm Ray, beside a bare multiprocessing.Pool(2). See README.md here."""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from measure import Peak, child, measured
from site_of_jpegs import CACHE, jpegs

UNIT = 200  # rows that one call works on, in both
RAW = CACHE / "raw"


def make_raw(count: int) -> str:
    """The dataset folder with the original bytes; made once."""
    import imgprep
    from imgprep.rows import sources
    from imgprep.stages import images

    imgprep.session("local", workers=2)
    folder = jpegs(count)
    tables = sources.read({"train": str(folder)}, limit=count)
    images.download(tables, str(RAW / str(count)))
    imgprep.close()
    return str(RAW / str(count))


def bare_unit(job: tuple[str, list[str], list[int], object, object, str]) -> None:
    """What a careful person writes: read the rows, prepare each picture, write one Parquet file."""
    import cv2
    import numpy as np
    import pyarrow as pa

    from imgprep.dataset import Reader, Writer
    from imgprep.dataset.files import Folder
    from imgprep.picture import codec, ocr

    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    raw, files, rows, carried, schema, out = job
    reader, new = Reader(Folder(raw), keep=2), []
    for file, row in zip(files, rows, strict=True):
        data = reader.rows(file, np.array([row]), ["image"])["image"][0].as_py()["bytes"]
        image = ocr.prepare(codec.decode(data))
        png = codec.encode(image)
        new.append((png, image.shape[1], image.shape[0], hashlib.sha256(png).hexdigest()))
    ids = carried["image_id"].to_pylist()
    columns = {name: carried[name] for name in carried.column_names}
    columns["image"] = [{"bytes": png, "path": f"{i}.png"} for (png, *_), i in zip(new, ids, strict=True)]
    columns |= {"width": [w for _, w, _, _ in new], "height": [h for _, _, h, _ in new], "format": ["PNG"] * len(new)}
    columns |= {"nbytes": [len(png) for png, *_ in new], "sha256": [s for *_, s in new]}
    with open(out, "wb") as sink:
        writer = Writer(sink, schema)
        writer.write(pa.table([pa.array(columns[f.name], f.type) if isinstance(columns[f.name], list)
                               else columns[f.name] for f in schema], names=schema.names))  # fmt: skip
        writer.close()


def bare(raw: str, out: str) -> None:
    """All rows by a Pool(2), in units of UNIT rows. The pool is started here: a fork costs 0.03 s."""
    from imgprep import dataset
    from imgprep.resume.shape import TAKEN as PICTURE

    ds = dataset.open(raw)
    table = ds.table("train")
    import pyarrow.parquet as pq

    schema = pq.read_schema(ds.data_files()[0])
    carried = table.select([c for c in table.column_names if c not in PICTURE])
    jobs = []
    for n, at in enumerate(range(0, table.num_rows, UNIT)):
        some = table.slice(at, UNIT)
        files, rows = some["file"].to_pylist(), some["row"].to_pylist()
        jobs.append((raw, files, rows, carried.slice(at, UNIT), schema, f"{out}/{n:05d}.parquet"))
    with multiprocessing.Pool(2) as pool:
        for _ in pool.imap_unordered(bare_unit, jobs):
            pass


def ours(raw: str, out: str) -> None:
    from imgprep.picture import ocr
    from imgprep.stages import images

    found = images.transform(raw, out, ocr.prepare)
    counts = found.counts()
    assert counts["ok"] == counts["rows"], counts


def contestant(name: str, raw: str, out: str, *, peak: bool = False) -> None:
    import imgprep

    if name == "pool":
        os.mkdir(out)
        found = measured(lambda: bare(raw, out))
    else:
        from imgprep.picture import ocr
        from imgprep.rows import sources
        from imgprep.stages import images

        imgprep.session(name, workers=2)
        few = sources.read({"train": str(jpegs(1))}, limit=100)
        images.transform(few, f"{out}-warm", ocr.prepare)
        with Peak() if peak else nullcontext() as most:
            found = measured(lambda: ours(raw, out))
        imgprep.close()
        if peak:
            found["peak_mib"] = most.mib
    print(json.dumps(found))


def same_pictures(theirs: str, ours: str) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from imgprep import dataset

    files = sorted(Path(theirs).glob("*.parquet"))
    bare = pa.concat_tables([pq.read_table(f, columns=["image_id", "sha256"]) for f in files])
    return bare.equals(dataset.open(ours).table("train").select(["image_id", "sha256"]))


def contest(raw: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as where:
        pool = child(sys.executable, __file__, "--contestant", "pool", raw, f"{where}/pool")
        line("Pool(2)", count, pool)
        for engine in ("ray", "local"):
            found = child(sys.executable, __file__, "--contestant", engine, raw, f"{where}/{engine}")
            assert same_pictures(f"{where}/pool", f"{where}/{engine}")
            times = f"x{pool['s'] / found['s']:.2f} pictures/s, x{pool['cpu_s'] / found['cpu_s']:.2f} CPU"
            line(f"imgprep {engine}", count, found, f"{times} (pictures/s: floor 0.85, goal 0.95)")


def line(name: str, count: int, found: dict, judged: str = "") -> None:
    rates = f"{count / found['s']:5.0f} pictures/s  {1000 * found['cpu_s'] / count:6.2f} CPU ms each"
    print(f"{name:14}{rates}  others {found['others']:3.0%}  {judged}", flush=True)


def memory(folders: dict[int, str]) -> None:
    """The most that all processes hold together, Ray's own among them. Runs of their own: looking costs time."""
    for engine in ("ray", "local"):
        for count, raw in folders.items():
            with tempfile.TemporaryDirectory() as where:
                found = child(sys.executable, __file__, "--contestant", engine, raw, f"{where}/out", "--peak")
            print(f"imgprep {engine:6} {count:6} pictures: peak {found['peak_mib']:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", nargs=3)
    parser.add_argument("--peak", action="store_true")
    given = parser.parse_args()
    if given.contestant:
        return contestant(*given.contestant, peak=given.peak)
    folders = {count: make_raw(count) for count in (given.count // 4, given.count)}
    for _ in range(given.rounds):
        contest(folders[given.count], given.count)
    memory(folders)


if __name__ == "__main__":
    main()
