"""Are the frames that are found by jumping those that decoding everything gives, byte for byte?"""

import math
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgprep.io.film import chosen
from imgprep.io.film.facts import check_end
from imgprep.io.film.playback import Playback
from imgprep.io.film.reel import Reel
from imgprep.io.film.upright import still_of
from imgprep.sample.films import write_film

RNG = np.random.default_rng(0)
COUNT = 150
# How films come: GOPs that refer to one another, without keyframes, without an index, all keyframes.
KINDS = {
    "closed.mp4": ("libx264", {"x264-params": "keyint=24:min-keyint=24:bframes=3:scenecut=0"}),
    "open.mkv": ("libx264", {"x264-params": "keyint=20:min-keyint=20:bframes=3:open-gop=1:scenecut=0"}),
    "refresh.ts": ("libx264", {"x264-params": "keyint=24:intra-refresh=1:bframes=0:scenecut=0"}),
    "single.mp4": ("libx264", {"x264-params": "keyint=1000:scenecut=0"}),
    "part4.avi": ("mpeg4", {"g": "12", "bf": "0"}),
    "part2.ts": ("mpeg2video", {"g": "12", "bf": "2"}),
    "part2.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "vp9.webm": ("libvpx-vp9", {"g": "25", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1"}),
    "stills.mov": ("mjpeg", {}),
}


def moving(count: int) -> list[np.ndarray]:
    """A patch that moves over noise, so that every frame is another: (48, 64, 3)."""
    ground = RNG.integers(0, 256, (12, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    frames = []
    for number in range(count):
        frame = np.roll(ground, number, axis=1)
        frame[8:24, (3 * number) % 48 :][:, :16] = (number * 5) % 256
        frames.append(frame)
    return frames


def uneven(count: int) -> list[Fraction]:
    steps = RNG.choice([1, 1, 1, 2, 5], count)
    return [Fraction(int(at), 25) for at in np.cumsum(steps) - steps[0]]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    home = tmp_path_factory.mktemp("films")
    for name, (codec, options) in KINDS.items():
        even = name.endswith(("avi", "mpg", "ts"))
        times = [Fraction(n, 24) for n in range(COUNT)] if even else uneven(COUNT)
        how = {"pixels": "yuvj420p"} if codec == "mjpeg" else {}
        tick_s = Fraction(1, 24 if even else 25)
        write_film(home / name, moving(COUNT), times, codec=codec, tick_s=tick_s, **how, **options)
    return home


def taken(path, every_s: float, *, is_sparse: bool) -> tuple[list, Playback | None]:
    with path.open("rb") as file, Reel(file) as reel:
        found = []
        for frame in chosen.at_times(reel, every_s, is_sparse=is_sparse):
            found.append((frame.pts, still_of(frame, reel.square_wh, reel.turn).tobytes()))
        check_end(reel)
    return found


def truth(path, every_s: float) -> list:
    """By PyAV's own loop, without anything of ours but the definition."""
    found, due, first = [], None, Fraction(0)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            first = frame.time_base * frame.pts if due is None else first
            since = frame.time_base * frame.pts - first
            if due is None or since >= due:
                rgb = still_of(frame, (frame.width, frame.height), 1)
                found.append((frame.pts, rgb.tobytes()))
                due = (math.floor(since / Fraction(str(every_s))) + 1) * Fraction(str(every_s))
    return found


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("every_s", [0.04, 0.31, 1, 2.5, 60])
def test_what_is_jumped_to_is_what_decoding_everything_gives(films, name, every_s):
    everything = taken(films / name, every_s, is_sparse=False)
    assert everything == truth(films / name, every_s) != []
    assert taken(films / name, every_s, is_sparse=True) == everything


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(KINDS)), times=st.lists(st.integers(0, 900), min_size=1, max_size=8))
def test_any_times_in_order_are_found(films, name, times):
    found = {}
    for is_sparse in (True, False):
        with (films / name).open("rb") as file, Reel(file) as reel:
            playback = Playback(reel, is_sparse=is_sparse)
            first = playback.next_at(-math.inf)
            step = Fraction(1, 100) / reel.video.time_base
            frames = [playback.next_at(first.pts + round(at * step)) for at in sorted(set(times))]
            found[is_sparse] = [f and (f.pts, f.to_ndarray().tobytes()) for f in frames]
    assert found[True] == found[False]


@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv", "vp9.webm", "part2.ts", "stills.mov"])
def test_what_lies_between_is_not_decoded(films, name, monkeypatch):
    count = {True: 0, False: 0}
    plain = Reel.decoded

    def counted(reel, packet):
        count[is_sparse] += 1
        return plain(reel, packet)

    monkeypatch.setattr(Reel, "decoded", counted)
    for is_sparse in count:
        taken(films / name, 3, is_sparse=is_sparse)
    assert count[True] < 0.7 * count[False]


def test_a_long_way_is_sought_once_also_where_a_keyframe_stands_at_the_very_time(tmp_path, monkeypatch):
    # The decoder holds frames back: nothing comes out of the keyframe alone.
    how = {"x264-params": "keyint=24:min-keyint=24:bframes=3:scenecut=0"}
    write_film(tmp_path / "a.mp4", moving(480), [Fraction(n, 24) for n in range(480)], **how)
    plain = Playback._seek
    sought = []
    monkeypatch.setattr(Playback, "_seek", lambda self, pts: (sought.append(pts), plain(self, pts)))
    found = taken(tmp_path / "a.mp4", 5, is_sparse=True)
    assert [pts for pts, _ in found] == [0, 450_000, 900_000, 1_350_000] and len(sought) == len(set(sought)) == 4
    assert found == taken(tmp_path / "a.mp4", 5, is_sparse=False)


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"refresh.ts"}))
def test_keyframes_alone_are_those_of_the_whole(films, name):
    with av.open(str(films / name)) as container:
        wanted = [(f.pts, f.to_ndarray().tobytes()) for f in container.decode(video=0) if f.key_frame]
    with (films / name).open("rb") as file, Reel(file) as reel:
        found = [(f.pts, f.to_ndarray().tobytes()) for f in chosen.at_keyframes(reel)]
    assert found == wanted


def test_scenes_begin_where_the_picture_changes(tmp_path):
    scenes = [np.full((48, 64, 3), shade, np.uint8) for shade in (20, 200, 90)]
    frames = [scene for scene in scenes for _ in range(24)]
    times = [Fraction(n, 24) for n in range(len(frames))]
    write_film(tmp_path / "cuts.mp4", frames, times)
    with (tmp_path / "cuts.mp4").open("rb") as file, Reel(file) as reel:
        assert [reel.seconds(f.pts) for f in chosen.at_scenes(reel, 0.1)] == [0, 1, 2]
