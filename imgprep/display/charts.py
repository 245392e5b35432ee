"""Histograms for notebook cells and the report: what they count, their ticks, and how they are
drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from imgprep.words import bytes_text

BINS = 24
HEIGHT = 92  # of the box that a histogram is drawn in; it is as wide as there are bins
TALLEST = 84  # of a bar in it: its edge is not cut off
WIDE = (
    8  # from this factor between the ends on a scale is logarithmic: one giant must not flatten all
)
MOST_TICKS = 5
CUT = "#e6196e"  # seen on any photograph's grey, in light and dark


def of_sizes(
    ok: pd.DataFrame, splits: list[str], *, has_files: bool = True
) -> list[dict[str, Any]]:
    """The histograms of width, height, their ratio and the files' bytes, a path for each split.

    ok: rows with of_width, of_height, nbytes and split. Heights are shares of the split.
    has_files: False where the bytes are only those of overviews.
    """
    if ok.empty:
        return []
    scales: list[tuple[str, pd.Series, Callable[[float], str]]] = [
        ("Width, px", ok.of_width, "{:,.0f}".format),
        ("Height, px", ok.of_height, "{:,.0f}".format),
        ("Width : height", ok.of_width / ok.of_height, "{:.3g}".format),
    ]
    if has_files:
        scales.append(("File size", ok.nbytes, bytes_text))
    return [_chart(title, values, ok.split, splits, text) for title, values, text in scales]


def _chart(
    title: str,
    column: pd.Series,
    split: pd.Series,
    splits: list[str],
    text: Callable[[float], str],
) -> dict[str, Any]:
    values = column.to_numpy(float)
    low, high = values.min(), values.max()
    is_wide = high / low > WIDE
    # asarray bends nothing: one way for both kinds of scale.
    bend = np.log if is_wide else np.asarray
    edges = np.histogram_bin_edges(bend(values), BINS)
    counts = [np.histogram(bend(values[split == one]), edges)[0] for one in splits]
    # Shares, since splits differ in size, and what is compared is their shape.
    shares = [some / max(some.sum(), 1) for some in counts]
    start, end = edges[0], edges[-1]
    marks = []
    for tick in ticks(low, high):
        marks.append({"at": f"{(bend(tick) - start) / (end - start):.1%}", "text": text(tick)})
    return {
        "name": title,
        "median": text(float(np.median(values))),
        "low": text(low),
        "high": text(high),
        "bins": BINS,
        "edges": (np.exp(edges) if is_wide else edges).round(4).tolist(),
        "ticks": marks,
        "paths": [heights_path(share, float(np.max(shares))) for share in shares],
        "counts": {one: some.tolist() for one, some in zip(splits, counts, strict=True)},
    }


def of_threshold(row: dict[str, Any]) -> dict[str, Any]:
    """What a threshold was chosen from: bins, ends, the cut's place, and the path; {} where there
    was none.

    Heights are square roots: a picture is mostly background.
    """
    if not row["histogram"] or row["threshold"] is None:
        return {}
    low, high = row["histogram_range"]
    heights = np.sqrt(row["histogram"])
    place = (row["threshold"] - low) / max(high - low, 1e-9)
    return {
        "path": heights_path(heights, heights.max()),
        "bins": len(heights),
        "low": low,
        "high": high,
        "at": f"{place:.1%}",
    }


def ticks(low: float, high: float) -> list[float]:
    """Up to five round numbers from low to high: even steps, or 1-2-5 where the range is wide.

    >>> ticks(75, 1500), ticks(0.5, 2), ticks(24, 24)
    ([100, 200, 500, 1000], [0.5, 1.0, 1.5, 2.0], [24])
    """
    if low == high:
        return [low]
    if high / low > WIDE:
        inside = [number for number in _round_numbers() if low <= number <= high]
        every = -(-len(inside) // MOST_TICKS)
        return inside[::every]
    steps = (number for number in _round_numbers() if (high - low) / number <= MOST_TICKS - 1)
    step = next(steps)
    first = int(np.ceil(low / step))
    last = int(high // step)
    return [round(place * step, 3) for place in range(first, last + 1)]


def _round_numbers() -> Iterator[float]:
    """0.001, 0.002, 0.005, 0.01 … as people count."""
    for exponent in range(-3, 12):
        for digit in (1, 2, 5):
            # Not by multiplying with 0.001: that gives 0.005000000000000001.
            yield digit * 10**exponent if exponent >= 0 else digit / 10**-exponent


def heights_path(heights: Sequence[float] | np.ndarray, highest: float) -> str:
    """The path of a histogram in a box of its bins x HEIGHT.

    >>> heights_path([1, 2], 2)
    'M0 92V50.0h1V8.0h1V92'
    """
    path = f"M0 {HEIGHT}"
    for height in heights:
        top = HEIGHT - TALLEST * height / highest
        path += f"V{top:.1f}h1"
    return f"{path}V{HEIGHT}"


def svg(paths: Sequence[str], bins: int, label: str, *, cut: str = "", style: str = "") -> Markup:
    """A histogram as markup. cut: where a vertical line stands, as a share of the width."""
    drawn = Markup("").join(
        Markup('<path class="h{}" d="{}"/>').format(number, path)
        for number, path in enumerate(paths)
    )
    if cut:
        drawn += Markup(
            '<line x1="{0}" x2="{0}" y1="0" y2="{1}" stroke="{2}" stroke-width="2"'
            ' vector-effect="non-scaling-stroke"/>'
        ).format(cut, HEIGHT, CUT)
    return Markup(
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}" style="{}">{}</svg>'
    ).format(bins, HEIGHT, label, style, drawn)
