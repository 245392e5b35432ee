"""Exports of 0.4 and of 2 GB: seconds, and memory that must not grow with the dataset. See README.md here."""

import argparse
import json
import sys
import tempfile

from measure import Peak, child, measured
from site_of_jpegs import jpegs

FORMS = ("disk", "imagefolder", "lance", "webdataset")


def make(out: str, copies: str) -> None:
    """A dataset folder with each of the 2,000 JPEGs so many times."""
    import pyarrow as pa

    import imgprep
    from imgprep.stages import images

    paths = [str(path) for path in sorted(jpegs().glob("*.jpg"))[:2000]] * int(copies)
    rows = pa.table({"image_id": [f"{i:06d}" for i in range(len(paths))], "source": paths})
    with imgprep.session("local", workers=2):
        images.download({"train": rows}, out)


def export(dataset: str, form: str) -> None:
    from imgprep.dataset import Dataset
    from imgprep.stages import exports

    ds = Dataset(dataset)
    with tempfile.TemporaryDirectory() as where, Peak() as peak:
        found = measured(lambda: exports.export(ds, f"{where}/out", form))
    print(json.dumps(found | {"mib": peak.mib, "gb": sum(f["bytes"] for f in ds.files) / 1e9}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--step", nargs=3)
    given = parser.parse_args()
    if given.step:
        name, *arguments = given.step
        return {"make": make, "export": export}[name](*arguments)
    jpegs()
    with tempfile.TemporaryDirectory() as where:
        for copies in given.copies:
            child(sys.executable, __file__, "--step", "make", f"{where}/{copies}", copies)
        for form in FORMS:
            for copies in given.copies:
                found = child(sys.executable, __file__, "--step", "export", f"{where}/{copies}", form)
                print(f"{form:12} {found['gb']:.1f} GB  {found['s']:5.1f} s  {found['cpu_s']:5.1f} CPU s  "
                      f"peak {found['mib']:.0f} MiB  others {found['others']:.0%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
