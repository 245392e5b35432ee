"""One picture while its sizes are made, and the bytes of each."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgprep.picture import augment as augmentation
from imgprep.picture import budget, codec, geometry
from imgprep.resume import make
from imgprep.resume.work import Loaded
from imgprep.stages.variants.sizes import Size, SizeHeader

SMALLEST_SIDE = 512
Row = dict[str, Any]


@dataclass
class Sized:
    """One picture while its sizes are made.

    header, sha256: of the original. passed: sizes for which `clean` (the bytes without metadata)
        stands as it is.
    exif: what JPEGs keep. notes: kind -> annotation, in pixels of the original. shared: columns of
        all its rows.
    """

    one: Loaded
    data: bytes
    header: SizeHeader
    sha256: str
    passed: set[str]
    clean: bytes
    exif: bytes
    notes: dict[str, Any]
    shared: Row

    def passed_row(self, row: Row) -> Row:
        """The picture itself, for a size that it is already."""
        width, height, format = self.header
        is_same = self.clean == self.data
        # Its first picture alone is a plain JPEG.
        if format == "MPO" and not is_same:
            format = "JPEG"
        outcome = "copied" if is_same else "stripped"
        header = width, height, format
        return make.picture_row(self.one.key, self.clean, header, outcome=outcome, **row)

    def resized(self, made: dict[int, np.ndarray], size: Size) -> tuple[np.ndarray, Row]:
        """The picture within the side of a size, with its annotations.

        made: longest side -> picture, gets this one: it is made of the smallest that is twice as
            long.
        """
        whole = max(made)
        side = min(size.max_side or whole, whole)
        if side not in made:
            larger = [one for one in made if one >= 2 * side]
            made[side] = geometry.shrink(made[min(larger, default=whole)], side)
        small = made[side]
        height, width = small.shape[:2]
        return small, augmentation.scaled(self.notes, self.header[:2], (width, height))

    def augmented(
        self,
        image: np.ndarray,
        notes: Row,
        run: Any,
        copy: int,
        row: Row,
    ) -> tuple[np.ndarray, Row]:
        """A copy, from a seed that is that of no other picture, frame or copy."""
        # By the original's bytes: a picture has the same copies whatever it is called.
        mark = f"{self.sha256} {row['frame']} {copy}"
        seed = int.from_bytes(hashlib.sha256(mark.encode()).digest()[:4])
        image, notes, row["augmentation"] = augmentation.apply_pipeline(run, image, notes, seed)
        return image, notes


def original_row(
    one: Loaded,
    data: bytes,
    header: SizeHeader,
) -> Row:
    row = make.picture_row(one.key, data, header, child=0, variant="original", outcome="copied")
    if header[2] == "HEIF":  # `image` is always something that Pillow alone opens
        row |= {"image": None, "original": data}
    return row | {"source_sha256": row["sha256"], **one.columns}


def unread_row(one: Loaded, error: codec.DecodeError) -> Row:
    original = one.data if error.reason in make.UNREADABLE else None
    more = {"original": original, "nbytes": len(original or b""), **one.columns}
    return make.failed(one, error.reason, str(error), **more)


def least_wh(sides: list[int | None]) -> tuple[int, int] | None:
    """What decoding has to give for these longest sides; None for all there is."""
    known = [side for side in sides if side is not None]
    if len(known) < len(sides):
        return None
    # Small ones from more than their size, as the DCT's average is a box; for large ones that
    # would cost much.
    least = max(side * 3 // 2 if side <= SMALLEST_SIDE else side for side in known)
    return least, least


def encoded_size(
    image: np.ndarray,
    size: Size,
    exif: bytes = b"",
) -> tuple[bytes, int | None]:
    """The bytes of a picture in a size's format, and the quality; None where the format has
    none."""
    format = size.format or "JPEG"
    if format == "PNG":
        return codec.encode(image), None
    exif = exif if format == "JPEG" else b""
    quality = size.quality
    if size.max_bytes is None:
        data = codec.encode(image, format, quality=quality, is_full_chroma=True)
    else:
        # Less the EXIF, which is put in afterwards.
        most = max(0, size.max_bytes - len(exif))
        data, quality = budget.fit_bytes(image, most, format=format, best=quality)
    # Behind the first two bytes, where a JPEG's own segments begin.
    return data[:2] + exif + data[2:] if exif else data, quality
