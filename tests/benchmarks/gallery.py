"""The offline page with thousands of pictures: its bytes, when it shows the first, how it scrolls.

python tests/benchmarks/gallery.py [PICTURES]   5,000 by default; needs chromium and the test photographs

Pictures are crops of photographs, with a few random tags and a cheap vector. Prints bytes of the page over bytes of its
pictures, seconds from opening to twelve painted pictures, beside a plain page with those <img>, and how long frames
of scrolling take, beside a plain page too: on a busy machine both are late.
"""

import base64
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import Page

import imgprep
from imgprep import sources, tags
from imgprep.display.gallery import write_gallery
from imgprep.picture import codec

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"
PAINTED = """new Promise(done => { const look = () => {
    const root = window.gallery ? gallery.root : document;
    const ready = [...root.querySelectorAll('img')].slice(0, 12).filter(i => i.complete && i.naturalWidth);
    ready.length >= 12 ? done(performance.now()) : requestAnimationFrame(look) }; look() })"""
SCROLL = """new Promise(done => { const times = [];
    const place = window.gallery ? gallery.root.querySelector('.scroll') : document.scrollingElement;
    let last = performance.now();
    const step = now => { times.push(now - last); last = now; place.scrollTop += 90;
        times.length < 240 ? requestAnimationFrame(step) : done(times.sort((a, b) => a - b)) };
    requestAnimationFrame(step) })"""


class Squares:
    """An embedder that costs nothing: 64 numbers of a small picture."""

    once, version, kind, name, model_version, has_words = True, 1, "squares", "squares", "1", False

    def __call__(self, image):
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (8, 8)).astype(np.float32).ravel() - 128
        return small / (np.linalg.norm(small) + 1e-6)


def random_tags(image):
    random = np.random.default_rng(int(image[:8].sum()))
    return [{"kind": "object", "name": f"thing {n}", "score": 0.5} for n in random.integers(0, 400, 4)]


def crops(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    photos = []
    for path in sorted(PHOTOS.glob("*")):
        if path.suffix.lower() in (".jpg", ".png"):
            photos.append(codec.decode(path.read_bytes(), min_wh=(900, 900)))
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = (min(side, int(random.integers(200, 320))) for side in photo.shape[:2])
        y, x = (int(random.integers(0, max(1, n - m))) for n, m in zip(photo.shape[:2], (height, width), strict=True))
        data = codec.encode(photo[y : y + height, x : x + width], "JPEG", quality=85)
        (folder / f"{number:05d}.jpg").write_bytes(data)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "pictures")
        folder.mkdir()
        crops(folder, count)
        imgprep.session("local", 2)
        found = tags.find(sources.read({"train": str(folder)}), f"{place}/t", taggers=[random_tags], embedder=Squares())
        start = time.process_time()
        page = write_gallery(Path(place, "gallery.html"), found, side=240)
        made_s = time.process_time() - start
        text = page.read_text("utf-8")
        held = [part.partition("</script>")[0] for part in text.split('id="pictures-')[1:]]
        held_bytes = sum(len(base64.b64decode(one.partition(">")[2])) for one in held)
        ratio = page.stat().st_size / held_bytes
        said = f"page {page.stat().st_size / 1e6:.1f} MB, {ratio:.2f}x its pictures; {made_s:.0f} CPU s"
        print(f"{count:,} pictures: {said}")
        first = [base64.b64encode(file.read_bytes()).decode() for file in sorted(folder.iterdir())[:60]]
        plain = Path(place, "plain.html")
        plain.write_text("".join(f"<img height=200 src='data:image/jpeg;base64,{one}'>" for one in first))
        many = Path(place, "many.html")
        links = (f"<img width=220 height=200 src='{file}'>" for file in sorted(folder.iterdir())[:1_500])
        many.write_text("".join(links))
        for name, path in (("plain", plain), ("gallery", page)):
            with Page(width=1400, height=900) as tab:
                tab.open(path)
                print(f"{name}: twelve pictures after {tab.run(PAINTED) / 1000:.2f} s")
        for name, path in (("1,500 plain pictures", many), ("gallery", page)) * 2:
            with Page(width=1400, height=900) as tab:
                tab.open(path)
                tab.run(PAINTED)
                frames = tab.run(SCROLL)
                late = sum(one > 20 for one in frames)
                said = f"median frame {frames[120]:.1f} ms, 95 % {frames[228]:.1f} ms, {late} of 240 late"
                print(f"scrolling {name}: {said} {tab.problems or ''}")
        imgprep.close()


if __name__ == "__main__":
    main()
