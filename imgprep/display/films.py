"""Frames as the film that they are of: a strip for each, with the times below."""

from typing import Any

import pandas as pd

from imgprep.dataset import Dataset
from imgprep.display.cells import Cell, figure, framed
from imgprep.display.pictures import caption, every_row, spread, thumbnail
from imgprep.words import clock

OF_FRAMES = {"parent_id", "time_s", "film_codec", "film_duration_s"}
FRAMES_SHOWN = 8  # of a film
FRAME_PX = 160


def films(ds: Dataset, n: int = 3) -> Cell:
    """n films of `film.extract_frames`, evenly spread over them, each with a few of its frames.

    ValueError for a dataset without frames of films.
    """
    found = film_strips(ds, n, FRAMES_SHOWN)
    if found is None:
        raise ValueError(f"{ds.folder} holds no frames of films: `film.extract_frames` makes them")
    strips = []
    for one in found:
        style = f"max-width:{FRAME_PX}px"
        shots = [figure(shot["uri"], shot["text"], style) for shot in one["frames"]]
        strips.append(f"<div>{framed(''.join(shots), one['text'])}</div>")
    return Cell("".join(strips), "; ".join(one["text"] for one in found) or "no frames")


def film_strips(ds: Dataset, films_shown: int, frames_shown: int) -> list[dict[str, Any]] | None:
    """Each film's name, facts in words and frames, evenly spread; None where there are no films."""
    table, places = every_row(ds)
    if not OF_FRAMES <= set(table.column_names):
        return None
    names = "file_name" if "file_name" in table.column_names else "parent_id"
    columns = ["time_s", "film_codec", "film_duration_s", "audio_codec", "film_width"]
    frame = table.select(["parent_id", "status", "film_height", *columns]).to_pandas()
    frame["name"] = table[names].to_pylist()
    frame = frame.join(places)
    ok = frame[frame.status == "ok"]
    parents = ok.parent_id.unique()
    return [
        _film_strip(ds, ok[ok.parent_id == parent], frames_shown)
        for parent in parents[spread(len(parents), films_shown)]
    ]


def _film_strip(ds: Dataset, frames: pd.DataFrame, most: int) -> dict[str, Any]:
    shots = []
    for number in spread(len(frames), most):
        row = frames.iloc[number]
        picture = ds.pictures(row["split"], [int(row["row"])])[0]
        shots.append({"uri": thumbnail(picture, FRAME_PX), "text": f"{row.time_s:.2f} s"})
    first = frames.iloc[0]
    many = "frame" if len(frames) == 1 else "frames"
    facts = [f"{len(frames):,} {many}", f"{first.film_width} × {first.film_height}"]
    if pd.notna(first.film_duration_s):
        facts.append(clock(first.film_duration_s))
    has_sound = pd.notna(first.audio_codec)
    facts.append(first.film_codec if has_sound else f"{first.film_codec}, no sound")
    name = caption(first["name"], 60)
    return {"name": name, "text": f"{name}: {', '.join(facts)}", "frames": shots}
