"""Pascal VOC's XML: a file for each picture, of boxes by their corners.

VOC counts pixels from 1 and names the first and the last one of a box. Many tools write the same
file with corners
from 0, of which the second is outside. One cannot tell for sure: `one_based` says, and what was
    taken is told.
"""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path

from imgprep.picture.boxes import Object
from imgprep.rows.annotations.objects import Annotated, ToldObject, box_of

CORNERS = ("xmin", "ymin", "xmax", "ymax")
VOC_DIGITS = 400  # enough for any float without rounding


def load_voc(where: str, notes: ToldObject, *, one_based: bool | None = None) -> list[Annotated]:
    """The pictures of all .xml files of a folder, in the order of their names."""
    files = sorted(Path(where).glob("*.xml"))
    trees = {str(file): _parsed_xml(file) for file in files}
    if one_based is None:
        one_based = _seems_one_based(trees.values())
        how = "from 1, the last pixel inside, as VOC's own" if one_based else "from 0: some are 0"
        other = str(not one_based)
        notes.said.append(
            f"corners are taken to count {how}; where that is wrong, give one_based={other}"
        )
    pictures = []
    for file, root in trees.items():
        name = root.findtext("filename") or f"{Path(file).stem}.jpg"
        objects = [_voc_object(one, one_based, file) for one in root.iter("object")]
        pictures.append(Annotated(name.strip(), objects, _voc_size(root), file))
    return pictures


def _parsed_xml(file: Path) -> ET.Element:
    text = file.read_bytes()
    if re.search(rb"<!(DOCTYPE|ENTITY)", text):
        # An entity may name other files, or grow to gigabytes.
        raise ValueError(f"{file} declares a document type, which no annotation needs")
    try:
        return ET.fromstring(text)
    except ET.ParseError as e:
        raise ValueError(f"{file} is no XML: {e}") from e


def _voc_size(root: ET.Element) -> tuple[int, int] | None:
    width, height = (root.findtext(f"size/{side}") or "0" for side in ("width", "height"))
    try:
        size_wh = int(float(width)), int(float(height))
    except ValueError:
        return None
    return size_wh if min(size_wh) > 0 else None


def _seems_one_based(trees: Iterable[ET.Element]) -> bool:
    lowest = [_decimal(corner) for root in trees for corner in _low_corners(root)]
    return not lowest or min(lowest) >= 1


def _low_corners(root: ET.Element) -> list[str]:
    return [box.findtext(name) or "1" for box in root.iter("bndbox") for name in CORNERS[:2]]


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text.strip())
    except InvalidOperation as e:
        raise ValueError(f"{text!r} is no number") from e


def _voc_object(one: ET.Element, one_based: bool, file: str) -> Object:
    label = (one.findtext("name") or "").strip()
    box = one.find("bndbox")
    if box is None or not label:
        raise ValueError(f"an object of {file} has no name or no bndbox")
    texts = [box.findtext(name) for name in CORNERS]
    if None in texts:
        raise ValueError(f"the box of {label!r} in {file} has no {CORNERS[texts.index(None)]}")
    # In decimals: corners that count from 1 come back to their last bit.
    with localcontext() as exact:
        exact.prec = VOC_DIGITS
        left, top, right, bottom = (_decimal(text or "") for text in texts)
        start = Decimal(int(one_based))
        sides = right - left + start, bottom - top + start
        numbers = (left - start, top - start, *sides)
        found: Object = {"label": label, "score": None, "box_xywh": [float(n) for n in numbers]}
    if (one.findtext("difficult") or "0").strip() == "1":
        found["is_difficult"] = True
    return found


def dump_voc(
    pictures: Sequence[Annotated],
    classes: Sequence[str],
    where: str,
    notes: ToldObject,
    *,
    one_based: bool = True,
) -> None:
    """Write a file for each picture into a folder, with its name and the ending .xml."""
    for picture in pictures:
        root = ET.Element("annotation")
        ET.SubElement(root, "filename").text = picture.file_name
        size = ET.SubElement(root, "size")
        width, height = picture.size_wh or (0, 0)
        for name, value in (("width", width), ("height", height), ("depth", 3)):
            ET.SubElement(size, name).text = str(value)
        for one in picture.objects:
            _write_object(root, one, one_based)
            for field in ("polygons", "mask", "points_xyv", "score"):
                if one.get(field) is not None:
                    lacks = f"{field}, which VOC's files do not hold"
                    notes.count(f"object has {lacks}", f"objects have {lacks}")
        ET.indent(root)
        path = Path(where, picture.file_name).with_suffix(".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ET.tostring(root, "utf-8"))


def _write_object(root: ET.Element, one: Object, one_based: bool) -> None:
    entry = ET.SubElement(root, "object")
    ET.SubElement(entry, "name").text = one["label"]
    ET.SubElement(entry, "difficult").text = str(int(bool(one.get("is_difficult"))))
    box = ET.SubElement(entry, "bndbox")
    with localcontext() as exact:
        exact.prec = VOC_DIGITS
        # repr: the shortest text that gives the float back.
        x, y, width, height = (Decimal(repr(float(n))) for n in box_of(one) or [0.0] * 4)
        start = Decimal(int(one_based))
        corners = (x + start, y + start, x + width, y + height)
        for name, value in zip(CORNERS, corners, strict=True):
            ET.SubElement(box, name).text = _without_exponent(value)


def _without_exponent(value: Decimal) -> str:
    """Without an exponent, and a whole number without a point."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def voc_pictures(where: str) -> str:
    """Beside a folder Annotations VOC has its pictures in JPEGImages."""
    beside = os.path.join(os.path.dirname(where.rstrip("/")), "JPEGImages")
    return beside if os.path.isdir(beside) else where
