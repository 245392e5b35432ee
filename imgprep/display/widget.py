"""The gallery in a notebook's cell: the page's component with anywidget as its host, and decisions
kept in a file.
"""

import json
import threading
from pathlib import Path
from typing import Any

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.display.gallery import TEMPLATES, page_data
from imgprep.display.gallery_data import collect
from imgprep.display.gallery_pictures import small_pictures
from imgprep.words import extra

MOST_LIVE = 2_000  # pictures that travel to the browser at once
LIVE_SIDE = 320
FEW_LIVE, FEW_HEIGHT, LIVE_HEIGHT = 24, 420, 660  # pictures; pixels on the screen
WIDGET_HOST = """
function render({ model, el }) {
  const place = document.createElement("div");
  place.style.height = model.get("height") + "px";
  place.style.border = "1px solid #8884";
  place.style.borderRadius = "8px";
  place.style.overflow = "hidden";
  const lab = document.body.dataset.jpThemeLight;
  place.style.colorScheme = lab === "false" ? "dark" : lab === "true" ? "light" : "light dark";
  el.append(place);
  const data = JSON.parse(model.get("data")), bytes = model.get("pictures"), urls = [];
  const picture = i => urls[i] ||= URL.createObjectURL(new Blob(
    [new Uint8Array(bytes.buffer, bytes.byteOffset + data.at[i][0], data.at[i][1])], { type: "image/webp" }));
  const decide = said => {
    model.set("decided", [...model.get("decided"), ...said]);
    model.save_changes();
  };
  imgprepGallery(place, { kind: "cell", data, style: model.get("sheet"), picture, decide });
  return () => urls.forEach(URL.revokeObjectURL);
}
export default { render };
"""
_writing = threading.Lock()


def live_gallery(ds: Dataset, corrections: str | Path | None = None, *, height: int | None = None) -> Any:
    """A widget of up to MOST_LIVE pictures, spread over the dataset. Needs the extra `widget`.

    corrections: the file that gets each decision at once, as `tags.apply` takes it. height: of the cell, in pixels;
    None: less where there are few pictures.
    """
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise ValueError(f"the gallery in a cell needs `{extra('widget')}`") from None

    class Gallery(anywidget.AnyWidget):
        # One component for page and cell: what is said beside its code is only who hosts it.
        _esm = (TEMPLATES / "gallery.js").read_text("utf-8") + WIDGET_HOST
        data = traitlets.Unicode().tag(sync=True)
        sheet = traitlets.Unicode().tag(sync=True)  # `style` is another thing to every widget
        pictures = traitlets.Bytes().tag(sync=True)
        height = traitlets.Int().tag(sync=True)
        decided: Any = traitlets.List().tag(sync=True)

    # words=False: a cell is opened often, and the words' model takes seconds to load.
    found = collect(ds, words=False, most=MOST_LIVE)
    small = small_pictures(ds, found.places, LIVE_SIDE)
    columns = page_data(found, small, Path(ds.folder).name)
    columns["at"] = _runs_of_bytes([len(one.data) for one in small])
    if height is None:
        height = FEW_HEIGHT if len(small) <= FEW_LIVE else LIVE_HEIGHT
    made = Gallery(
        data=json.dumps(columns),
        sheet=(TEMPLATES / "gallery.css").read_text("utf-8"),
        pictures=b"".join(one.data for one in small),
        height=height,
    )
    if corrections is not None:
        made.observe(lambda change: keep_corrections(corrections, change["new"]), "decided")
    return made


def keep_corrections(path: str | Path, decided: list[dict[str, Any]]) -> None:
    """Add decisions to a file of corrections; the latest of a picture and tag counts."""
    path = Path(path)
    # A lock: the browser may send two decisions in one moment.
    with _writing:
        before = json.loads(path.read_text("utf-8"))["corrections"] if path.exists() else []
        latest = {(one["image_id"], one["kind"], one["name"]): one for one in [*before, *decided]}
        text = json.dumps({"corrections": [*latest.values()]}, indent=1, ensure_ascii=False)
        Folder(path.parent).put(path.name, text.encode())


def _runs_of_bytes(lengths: list[int]) -> list[list[int]]:
    """[start, length] of each picture in the one run of bytes."""
    places, start = [], 0
    for length in lengths:
        places.append([start, length])
        start += length
    return places
