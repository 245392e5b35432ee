"""Which frames of a film are taken: one every so many seconds, its keyframes, or its scenes."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from imgprep.io.film.library import load_library
from imgprep.io.film.playback import Playback
from imgprep.io.film.reel import Reel


def at_times(reel: Reel, every_s: float, *, is_sparse: bool = True) -> Iterator[Any]:
    """The first frame, and then the first one at or after each multiple of every_s.

    Times are the frames' own, from the first frame on, so a variable rate is no matter. A frame
    that is shown for longer than every_s is taken once. is_sparse: see `Playback`.
    """
    playback = Playback(reel, is_sparse=is_sparse)
    frame = playback.next_at(-math.inf)
    if frame is None:
        return
    reel.begin(frame)
    # As it was written: 0.1 is a tenth, not the nearest binary number.
    step = Fraction(str(every_s)) / reel.video.time_base
    while frame is not None:
        since = frame.pts - reel.first_pts
        yield frame
        number = math.floor(since / step) + 1
        frame = playback.next_at(reel.first_pts + math.ceil(number * step))


def at_keyframes(reel: Reel) -> Iterator[Any]:
    """The frames that the film can be begun at. The others are not decoded."""
    is_first = True
    for packet in reel.packets():
        if not packet.size or not packet.is_keyframe:
            continue
        # Each by itself: a decoder that waits for the frames between would mix up their order.
        frames = [*reel.decoded(packet), *reel.decoded(None)]
        reel.video.codec_context.flush_buffers()
        for frame in frames:
            if is_first:
                reel.begin(frame)
            is_first = False
            yield frame


def at_scenes(reel: Reel, change: float) -> Iterator[Any]:
    """The first frame, and each that begins a new scene, by ffmpeg's filter `scdet`.

    change: how much of the picture has to change between two frames, from 0 to 1. A slow fade from
    one scene to the next is not found.
    """
    av = load_library()
    playback = Playback(reel, is_sparse=False)
    graph = None
    while (frame := playback.next_at(-math.inf)) is not None:
        if graph is None:
            reel.begin(frame)
            graph = _scene_graph(av, frame, change)
            yield frame
        try:
            graph.push(frame)
            judged = graph.pull()
        except av.error.FFmpegError as e:  # the frames' size changed, or their form
            reel.note_damage(e)
            graph = _scene_graph(av, frame, change)
            continue
        if "lavfi.scd.time" in judged.metadata:
            yield frame


def _scene_graph(av: Any, frame: Any, change: float) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format.name,
        time_base=frame.time_base,
    )
    judge = graph.add("scdet", f"t={100 * change:g}")
    graph.link_nodes(source, judge, graph.add("buffersink")).configure()
    return graph
