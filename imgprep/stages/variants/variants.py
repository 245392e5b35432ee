"""The sizes of a picture. One decode feeds them all."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgprep.picture import augment as augmentation
from imgprep.picture import codec, metadata
from imgprep.resume import make
from imgprep.resume.work import Loaded, Results
from imgprep.stages.variants.sized import (
    Row,
    Sized,
    encoded_size,
    least_wh,
    original_row,
    unread_row,
)
from imgprep.stages.variants.sizes import COPIED, Size, SizeHeader


@dataclass(frozen=True)
class Variants:
    """The sizes of each loaded picture, as rows of results. One decode feeds them all."""

    sizes: dict[str, Size]
    frames: str
    keep_metadata: bool
    max_pixels: int | None
    max_frames: int | None = codec.MAX_FRAMES
    annotations: dict[str, str] = field(default_factory=dict)
    augment: dict[str, Any] | None = None
    copies: int = 0

    def __call__(self, loaded: Iterator[Loaded]) -> Results:
        run = None
        if self.augment:
            run = augmentation.compose(self.augment, list(self.annotations))
        for one in loaded:
            try:
                rows = list(self._rows(one, run))
            except codec.DecodeError as e:
                # One row, also where it is a later frame that is damaged.
                rows = [unread_row(one, e)]
            yield from rows

    def _rows(self, one: Loaded, run: Any) -> Results:
        if one.reason or one.data is None:
            told = one.error or "there is no picture"
            raise codec.DecodeError(one.reason or "empty", told)
        h = codec.probe(one.data, max_pixels=self.max_pixels)
        header = h.width, h.height, h.format
        original = original_row(one, one.data, header)
        yield original
        sized = self._sized(one, one.data, header, original)
        wanted = self._wanted()
        # Over all frames and sizes: no two children of a picture have one number.
        child = 1
        for frame, image in enumerate(self._decoded(sized)):
            made = {} if image is None else {max(image.shape[:2]): image}
            for name, copy in wanted:
                row = sized.shared | {"variant": name, "child": child, "frame": frame}
                child += 1
                if name in sized.passed:
                    yield sized.passed_row(row)
                    continue
                try:
                    small, notes = sized.resized(made, self.sizes[name])
                    if name == COPIED:
                        small, notes = sized.augmented(small, notes, run, copy, row)
                    yield self._encoded(sized, small, notes, row)
                except ValueError as e:  # over budget, not to be augmented, too long a side
                    yield make.failed(one, getattr(e, "reason", "error"), str(e), **row)

    def _wanted(self) -> list[tuple[str, int]]:
        """(size, number of the copy) of each row that a frame gives."""
        found = []
        for name in self.sizes:
            times = self.copies if name == COPIED else 1
            found += [(name, copy) for copy in range(times)]
        return found

    def _sized(
        self,
        one: Loaded,
        data: bytes,
        header: SizeHeader,
        original: Row,
    ) -> Sized:
        # With 0 bytes: side and format are asked first, before metadata are taken out.
        names = [n for n, size in self.sizes.items() if n != COPIED and size.fits(header, 0)]
        clean = None
        if names:
            clean = metadata.clean(
                data, keep_metadata=self.keep_metadata, max_pixels=self.max_pixels
            )
        passed = {n for n in names if clean and self.sizes[n].fits(header, len(clean))}
        sha256 = original["sha256"]
        return Sized(
            one=one,
            data=data,
            header=header,
            sha256=sha256,
            passed=passed,
            clean=clean or b"",
            exif=metadata.exif_segment(data) if self.keep_metadata else b"",
            notes={kind: one.columns[column] for kind, column in self.annotations.items()},
            shared={"source_sha256": sha256, **one.columns},
        )

    def _decoded(self, sized: Sized) -> Iterator[np.ndarray | None]:
        """The picture, or its frames, at the least DCT scale that serves the sizes that are made of
        pixels."""
        sides = [size.max_side for name, size in self.sizes.items() if name not in sized.passed]
        if not sides:
            # No pixels are needed, but a damaged file must not go on as a whole one.
            codec.check(sized.data, max_pixels=self.max_pixels)
            yield None
        elif self.frames == "all":
            limits = {"max_pixels": self.max_pixels, "max_frames": self.max_frames}
            yield from codec.frames(sized.data, **limits)
        else:
            yield codec.decode(sized.data, min_wh=least_wh(sides), max_pixels=self.max_pixels)

    def _encoded(
        self,
        sized: Sized,
        image: np.ndarray,
        notes: Row,
        row: Row,
    ) -> Row:
        data, row["quality"] = encoded_size(image, self.sizes[row["variant"]], sized.exif)
        h = codec.probe(data, max_pixels=None)
        row |= {column: notes[kind] for kind, column in self.annotations.items()}
        header = h.width, h.height, h.format
        return make.picture_row(sized.one.key, data, header, outcome="encoded", **row)
