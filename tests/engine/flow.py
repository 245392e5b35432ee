"""What is run on one machine and on three hosts: flow.py SITE PICTURES SLIDE OUT prints the counts of each step."""

import sys
import time
import urllib.request

import numpy as np
import pyarrow as pa

import imgprep
from imgprep.stages import images, segmentation, tags, variants


class Brightness:
    """A tagger that tells its site of every picture; the site may end the host that it runs on."""

    version = "1"
    __name__ = "brightness"

    def __init__(self, site: str):
        self.site = site

    def __call__(self, image: np.ndarray) -> list[str]:
        urllib.request.urlopen(f"{self.site}/tagged", timeout=60).read()
        return ["bright" if image.mean() > 127 else "dark"]


def turned(image: np.ndarray, *, times: int = 1) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, times))


def main(site: str, count: int, slide: str, out: str) -> None:
    host = site.split("://")[1].split(":")[0]
    addresses = [f"{site}/{n}.jpg" for n in range(count)]
    table = pa.table({"image_id": [str(n) for n in range(count)], "source": addresses})
    steps = {
        "raw": lambda to: images.download({"train": table}, to, allow_hosts=[host], per_host=4, batch_size=24),
        "turned": lambda to: images.transform(f"{out}/raw", to, turned, batch_size=24),
        "sizes": lambda to: variants.build(f"{out}/raw", to, sizes={"small": {"max_side": 16}}),
        "masks": lambda to: segmentation.segment([slide], to, ["median 3", "otsu"], tile_wh=[256, 256], min_area=9),
        "tags": lambda to: tags.find(f"{out}/raw", to, taggers=["tone", "offline", Brightness(site)]),
    }
    with imgprep.session():
        for name, step in steps.items():
            began = time.monotonic()
            counts = step(f"{out}/{name}").counts()
            print(name, counts["rows"], counts["ok"], f"{time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
