"""The gallery: a whole tagged collection in one HTML file that needs no network, or in a notebook's
cell.

What a picture shows, who says so and what was seen; search, filters, look-alikes, a map,
corrections. The page is one component (templates/gallery.js) without a build step; its policy
allows that script alone, by its hash.
"""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.display.gallery_data import Collection, collect
from imgprep.display.gallery_pictures import Small, small_pictures
from imgprep.display.pages import check_page_place, page_environment
from imgprep.redaction import redact

TEMPLATES = Path(__file__).with_name("templates")
OWN_NAME = re.compile(r"\d{3,}/[0-9a-f]{16}\.webp")  # of a picture beside a page
PICTURES_BYTES = 700_000  # of pictures, decoded by the page together
MOST_INSIDE = 8_000  # pictures in one file; a page with more keeps them in a folder beside it
MOST_PAGE_BYTES = 60 << 20
# What the page's policy lets pictures come from.
SOURCES_INSIDE = "blob: data:"
SOURCES_BESIDE = "blob: data: file: 'self'"
START = """
const gallery = imgprepGallery(document.getElementById('gallery'), fileHost());
performance.mark('ready');
"""


def write_gallery(
    path: str | Path,
    ds: Dataset | str,
    *,
    title: str = "",
    side: int | None = None,
    words: bool = True,
) -> Path:
    """Write the gallery of a dataset folder as one HTML file, and return its path.

    side: the longest side of its pictures in pixels; None: larger the fewer there are. words: let
    words that no tag says be understood, where the vectors' model is installed (some seconds).
    More than MOST_INSIDE pictures, or MOST_PAGE_BYTES of them, go to a folder beside the page,
    which then travels with it. The same dataset gives the same bytes. Rows that are not ok are left
    out.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    path = Path(path)
    check_page_place(path)
    found = collect(ds, words=words)
    pictures = small_pictures(ds, found.places, side or side_for(len(found.places)))
    data = page_data(found, pictures, redact(title) or Path(ds.folder).name)
    # Measured before they are laid into the page: base64 makes a third more of it.
    nbytes = sum(len(one.data) for one in pictures)
    is_inside = len(pictures) <= MOST_INSIDE and nbytes <= MOST_PAGE_BYTES
    chunks: list[str] = []
    if is_inside:
        chunks, data["at"] = _chunks(pictures)
    else:
        data["files"] = _in_folder(path, pictures)
    script = (TEMPLATES / "gallery.js").read_text("utf-8") + START
    template = page_environment().get_template("gallery.html")
    page = template.render(
        title=data["title"],
        images=SOURCES_INSIDE if is_inside else SOURCES_BESIDE,
        script_hash=_policy_hash(script),
        chunks=chunks,
        style=(TEMPLATES / "gallery.css").read_text("utf-8"),
        data=inert_json(data),
        script=script,
    )
    # "replace": a lone surrogate in a name must not cost the whole page.
    Folder(path.parent).put(path.name, page.encode("utf-8", "replace"))
    return path


def side_for(count: int) -> int:
    """The side that keeps a page of so many pictures below about 40 MB."""
    sides = {200: 960, 800: 640, 2_000: 400, 100_000: 240}
    return next((side for most, side in sides.items() if count <= most), 200)


def page_data(found: Collection, pictures: Sequence[Small], title: str) -> dict[str, Any]:
    """What the component shows."""
    return {
        "title": title,
        **found.columns,
        "w": [one.width for one in pictures],
        "h": [one.height for one in pictures],
        "colours": [one.colours for one in pictures],
    }


def _policy_hash(script: str) -> str:
    """As Content-Security-Policy wants it: the base64 of its sha256."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def inert_json(data: dict[str, Any]) -> str:
    """JSON that ends no script element and begins none, whatever a name says."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # Not only "</script>": "<!--" opens a state in which a browser waits for another end.
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _chunks(pictures: Sequence[Small]) -> tuple[list[str], list[list[int]]]:
    """Pictures in base64, some together, and where each stands: [chunk, start, length]."""
    chunks = []
    places = []
    current = bytearray()
    for one in pictures:
        # In pieces: the page decodes one when its pictures come into view, and not 60 MB at once.
        if len(current) > PICTURES_BYTES:
            chunks.append(base64.b64encode(current).decode())
            current = bytearray()
        places.append([len(chunks), len(current), len(one.data)])
        current += one.data
    chunks.append(base64.b64encode(current).decode())
    return chunks, places


def check_pictures_only(folder: Path) -> None:
    """ValueError where a folder has a file that no gallery put there."""
    for path in folder.rglob("*"):
        if path.is_file() and not OWN_NAME.fullmatch(path.relative_to(folder).as_posix()):
            told = f"{folder} has files that imgprep did not write ({path.name} …)"
            raise ValueError(f"{told}: name another page")


def _in_folder(path: Path, pictures: Sequence[Small]) -> list[str]:
    """Write the pictures into a folder beside the page, made anew; their names as the page says
    them.
    """
    folder = path.with_name(f"{path.stem}-pictures")
    check_pictures_only(folder)
    # Made anew: pictures of a version before would travel with the page.
    shutil.rmtree(folder, ignore_errors=True)
    names = []
    for number, one in enumerate(pictures):
        digest = hashlib.sha256(one.data).hexdigest()[:16]
        # A thousand in a folder: file managers are slow with more.
        name = f"{number // 1000:03d}/{digest}.webp"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(one.data)
        names.append(f"{folder.name}/{name}")
    told = f"{len(pictures):,} pictures are too many for one file"
    print(f"{told}: they are in {folder.name}/ beside {path.name}")
    return names
