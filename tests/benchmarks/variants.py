"""Sizes of 12-megapixel JPEGs beside Pillow and pyvips, and what a byte budget costs. See README.md here."""

import argparse
import functools
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ["VIPS_CONCURRENCY"] = "1"  # before anything loads it

import cv2
import numpy as np
from measure import Peak, child, measured
from PIL import Image, ImageOps
from site_of_jpegs import CACHE, _photographs, jpegs
from skimage.metrics import structural_similarity

from imgprep.picture import budget, codec, geometry
from imgprep.resume import work
from imgprep.stages import variants

cv2.setNumThreads(1)
SIDE = 256


def photographs(size_wh: tuple[int, int] = (4000, 3000)) -> list[bytes]:
    """Bundled photographs enlarged to 12 megapixels, with a sensor's noise: about 3 MB each."""
    found = []
    for n, photo in enumerate(_photographs()[:4]):
        large = cv2.resize(photo, size_wh, interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noise = np.random.default_rng(n).normal(0, 12, large.shape).astype(np.float32)
        large += cv2.GaussianBlur(noise, (0, 0), 0.8).astype(np.int16)  # neighbours alike, as demosaicing leaves them
        found.append(codec.encode(large.clip(0, 255).astype(np.uint8), "JPEG", quality=92))
    return found


def plain(data: bytes) -> bytes:
    """What most people write with Pillow."""
    im = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    im = im.resize(geometry.fitted_wh(im.size, (SIDE, SIDE)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    im.save(out, "JPEG", quality=85)
    return out.getvalue()


@functools.cache
def pyvips() -> Any:
    """From a folder of its own: nothing else of ours needs it."""
    home = CACHE / "pyvips"
    if not home.exists():
        words = ["-m", "pip", "install", "--quiet", "--target", home, "pyvips", "pyvips-binary"]
        subprocess.run([sys.executable, *words], check=True)
    sys.path.append(str(home))
    return importlib.import_module("pyvips")


def vips(data: bytes) -> bytes:
    return pyvips().Image.thumbnail_buffer(data, SIDE, height=SIDE).jpegsave_buffer(Q=85)


def ours(data: bytes, *names: str) -> dict[str, bytes]:
    """The stage's own work on one picture, original, hashes and all."""
    sizes = {name: variants.Size.of(name, SIZES[name]) for name in names}
    make = variants.Variants(sizes, "first", False, codec.MAX_PIXELS)
    return {row["variant"]: row["image"] for row in make(iter([work.Loaded(b"", data, {})]))}


SIZES = {
    "vision": {"max_side": 2048, "max_bytes": budget.PRESETS["default"].file_bytes},
    "thumbnail": {"max_side": SIDE, "quality": 85},
}


def cpu_ms(contestants: dict[str, Callable[[bytes], object]], pictures: list[bytes], rounds: int) -> dict[str, float]:
    """CPU ms per picture, the best of the rounds; the contestants take turns, so that all see the same machine."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.process_time()
            for data in pictures:
                run(data)
            best[name] = min(best[name], 1000 * (time.process_time() - began) / len(pictures))
    return best


def ssim(data: bytes, picture: bytes) -> float:
    """Of the luma, against a Lanczos thumbnail of the full decode."""
    full = Image.open(io.BytesIO(picture)).convert("L")
    truth = full.resize(geometry.fitted_wh(full.size, (SIDE, SIDE)), Image.Resampling.LANCZOS)
    return structural_similarity(np.asarray(truth), cv2.cvtColor(codec.decode(data), cv2.COLOR_RGB2GRAY))


def thumbnails(pictures: list[bytes], rounds: int) -> None:
    contestants = {"Pillow plain": plain, "pyvips": vips, "imgprep": lambda data: ours(data, "thumbnail")["thumbnail"]}
    best = cpu_ms(contestants, pictures, rounds)
    for name, run in contestants.items():
        likeness = min(ssim(run(data), data) for data in pictures)
        print(f"{name:14}{best[name]:7.1f} CPU ms  SSIM {likeness:.3f} at least", flush=True)
    ratios = [best[name] / best["imgprep"] for name in ("Pillow plain", "pyvips")]
    print(f"12 Mpx to {SIDE} px: x{ratios[0]:.2f} of Pillow (floor 5, goal 6.5), x{ratios[1]:.2f} of pyvips (0.9, 1.0)")


def together(pictures: list[bytes], rounds: int) -> None:
    names = {"original": (), "vision": ("vision",), "thumbnail": ("thumbnail",), "all": ("vision", "thumbnail")}
    best = cpu_ms({n: lambda data, wanted=w: ours(data, *wanted) for n, w in names.items()}, pictures, rounds)
    ratio = best.pop("all") / max(best.values())
    print("  ".join(f"{n} {ms:.1f}" for n, ms in best.items()), "CPU ms")
    likeness = min(ssim(ours(data, "vision", "thumbnail")["thumbnail"], data) for data in pictures)
    print(f"all three together: x{ratio:.2f} of the most expensive alone (floor 1.3, goal 1.15); SSIM {likeness:.3f}")


def budgets(pictures: list[bytes]) -> None:
    encode, calls = codec.encode, []

    def counting(image: np.ndarray, *args: object, **options: object) -> bytes:
        calls.append(image.shape)
        return encode(image, *args, **options)

    codec.encode = counting
    images = [codec.decode(data) for data in pictures]
    for limit in (300_000, 1_000_000, 2_000_000):
        used, most, found = [], 0, []
        for image in images:
            calls.clear()
            made, quality = budget.fit_bytes(image, limit)
            used.append(len(made) / limit)
            most = max(most, *(calls.count(shape) for shape in calls))
            found.append(f"q{quality} at {codec.probe(made).width} px")
        print(f"{limit:9,} bytes: {min(used):.0%} used at least (floor 90 %), {most} encodes per scale at most "
              f"(floor 7); {', '.join(found)}", flush=True)  # fmt: skip
    codec.encode = encode


def whole_job(count: int) -> None:
    """The stage over so many photographs of 1 megapixel, in two processes: what all hold together."""
    import imgprep
    from imgprep.rows import sources

    with tempfile.TemporaryDirectory() as where, imgprep.session("local", workers=2):
        tables = sources.read({"train": str(jpegs(count))}, limit=count)
        with Peak() as most:
            found = measured(lambda: variants.build(tables, f"{where}/out"))
    print(json.dumps(found | {"peak_mib": most.mib}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only-thumbnails", action="store_true")
    parser.add_argument("--job", type=int)
    given = parser.parse_args()
    if given.job:
        return whole_job(given.job)
    pictures = photographs()
    print(f"{len(pictures)} pictures, {sum(map(len, pictures)) / len(pictures) / 1e6:.1f} MB each")
    thumbnails(pictures, given.rounds)
    if given.only_thumbnails:
        return
    together(pictures, given.rounds)
    budgets(pictures)
    for count in (1000, 4000):
        found = child(sys.executable, __file__, "--job", str(count))
        print(f"{count:5} pictures: {count / found['s']:.0f} a second, peak {found['peak_mib']:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
