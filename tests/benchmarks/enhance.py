"""What `enhance` gains on damaged photographs, and what telling noise costs. See README.md here.

The old way to estimate noise is kept here, to be compared with.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from imgprep.picture import codec, enhance, geometry, noise

FLOORS = {"noise": 6.0, "blur": 2.0, "half size": 1.2, "cast": 15.0}
GOALS = {"noise": 7.5, "blur": 2.5, "half size": 1.6, "cast": 20.0}
SIZE_WH = (760, 560)  # 0.4 megapixels


def noise_sigma_of_the_whole(image: np.ndarray) -> float:
    """As it was: every block of the picture, means by numpy."""

    def blocks(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values.mean(2), (8, 8))[4:-4:4, 4:-4:4]

    pixels = image.astype(np.float32)
    for planes in (cv2.transform(pixels, noise.OPPONENT), pixels):
        rough = cv2.filter2D(planes, -1, noise.LAPLACIANS)[1:-1, 1:-1]
        level = blocks(np.abs(rough))
        calmest = np.quantile(level, 0.05)
        sigma = 1.15 * np.sqrt(np.pi / 2) / 6 * calmest
        if sigma >= 4:
            calm = level <= 1.3 * calmest
            shared = [blocks(rough * np.roll(rough, 1, axis))[calm].sum() for axis in (0, 1)]
            alike = np.divide(shared, blocks(rough * rough)[calm].sum())
            if -0.76 < alike.min() and alike.max() < -0.57:
                return float(sigma)
    return 0.0


def cpu_ms(function, images: list[np.ndarray], rounds: int) -> float:
    """Per picture, the best of the rounds."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        for image in images:
            function(image)
        found.append((time.process_time() - started) * 1000 / len(images))
    return min(found)


def estimates(photos: list[np.ndarray], rounds: int) -> None:
    for size_wh in (SIZE_WH, (128, 128)):
        images = [geometry.fit(photo, size_wh) for photo in photos]
        old = cpu_ms(noise_sigma_of_the_whole, images, rounds)
        new = cpu_ms(enhance.noise_sigma, images, rounds)
        whole = cpu_ms(enhance.denoise, images, rounds)
        size = f"{size_wh[0]} x {size_wh[1]}"
        print(f"noise_sigma in {size}: {new:.2f} ms, of the whole {old:.2f} ms: {new / old:.2f}x")
        print(f"  denoise of clean pictures: {whole:.2f} ms")
        same = 0
        for image in images:
            dice = np.random.default_rng(0).normal(0, 15, image.shape)
            noisy = (image + dice).round().clip(0, 255).astype(np.uint8)
            pairs = [(enhance.noise_sigma(a), noise_sigma_of_the_whole(a)) for a in (image, noisy)]
            same += all((a > 0) == (b > 0) and abs(a - b) <= 0.1 * b for a, b in pairs)
        print(f"  same answer to within 10 %, clean and with noise of 15: {same} of {len(images)}")


def gains(photos: list[np.ndarray], side: int) -> None:
    table = enhance.tune(photos, sample=len(photos), side=side)
    for damage, rows in table.groupby("damage"):
        best = rows.loc[rows["psnr"].idxmax()]
        done = f"{best['function']}({best['options']})"
        reached = f"+{best['psnr_gained']:.2f} dB, SSIM +{best['ssim_gained']:.3f}"
        wanted = f"floor {FLOORS[damage]}, goal {GOALS[damage]}"
        print(f"{damage:10} {done:34} {reached} ({wanted})")
    print(table.round(3).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="a folder of clean photographs")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--side", type=int, default=1024, help="of the middle that is damaged")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted(Path(options.folder).glob("*.jpg"))[: options.count]
    photos = [codec.decode(path.read_bytes()) for path in paths]
    if not photos:
        sys.exit(f"no .jpg in {options.folder}")
    estimates(photos, options.rounds)
    gains(photos, options.side)


if __name__ == "__main__":
    main()
