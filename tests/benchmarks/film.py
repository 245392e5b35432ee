"""Frames found by jumping beside decoding everything; ladders beside the ffmpeg program. See README.md here."""

import argparse
import importlib.util
import io
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import imgprep
from imgprep import film
from imgprep.io.film import chosen
from imgprep.io.film.ladder import Ladder, LadderWish
from imgprep.io.film.reel import Reel
from imgprep.io.film.rung import FULL_HD, FULL_HD_BITS, Encoding
from imgprep.io.film.upright import still_of
from imgprep.picture import codec

HOME = Path(tempfile.gettempdir()) / "imgprep-benchmarks" / "films"
FLOORS = {"sparse": 0.3, "hls": 1.2, "frames": 1.0}
SIDES = (360, 720)
SHOWN_WH = {360: (640, 360), 720: (1280, 720)}


def made_film(name: str, size_wh: tuple[int, int], seconds: int, gop: int = 50) -> Path:
    """A film with grain, movement and a tone; a keyframe every two seconds, as phones and streams have it.

    gop: frames from keyframe to keyframe; 250 is x264's own.
    """
    path = HOME / name
    if path.exists():
        return path
    HOME.mkdir(parents=True, exist_ok=True)
    size = f"{size_wh[0]}x{size_wh[1]}"
    picture = f"testsrc2=size={size}:rate=25:duration={seconds},noise=alls=12:allf=t"
    sound = f"sine=frequency=440:duration={seconds}"
    sources = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    settings = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-g", str(gop)]
    settings += ["-pix_fmt", "yuv420p", "-c:a", "aac"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *sources, *settings, str(path)], check=True)
    return path


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of a call, its threads and the programs that it ran."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = [resource.getrusage(kind) for kind in kinds]
    work()
    used = 0.0
    for kind, old in zip(kinds, before, strict=True):
        now = resource.getrusage(kind)
        used += now.ru_utime + now.ru_stime - old.ru_utime - old.ru_stime
    return used


def best(rounds: int, contestants: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least CPU seconds of each, in turns."""
    found = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, work in contestants.items():
            found[name] = min(found[name], cpu_s(work))
    return found


def told(name: str, ours: float, theirs: float, floor: float, *, is_less: bool = True) -> None:
    ratio = ours / theirs
    holds = ratio <= floor if is_less else ratio >= floor
    print(f"{name}: {ratio:.2f}x (floor {floor:g}x: {'holds' if holds else 'MISSED'})", flush=True)


def stills(path: Path, every_s: float, *, is_sparse: bool) -> list[bytes]:
    with path.open("rb") as file, Reel(file) as reel:
        found = []
        for frame in chosen.at_times(reel, every_s, is_sparse=is_sparse):
            image = still_of(frame, reel.square_wh, reel.turn)
            found.append(codec.encode(image, "JPEG", quality=95))
        return found


def sparse(rounds: int) -> None:
    path = made_film("long-2s.mp4", (1920, 1080), 60)
    for every_s in (1, 10, 30):
        assert stills(path, every_s, is_sparse=True) == stills(path, every_s, is_sparse=False)
        used = best(
            rounds,
            {
                "jumping": lambda e=every_s: stills(path, e, is_sparse=True),
                "all": lambda e=every_s: stills(path, e, is_sparse=False),
            },
        )
        print(f"60 s of 1080p, a frame every {every_s} s: {used['jumping']:.2f} CPU s, decoding all {used['all']:.2f}")
        if every_s == 10:
            told("  sparse", used["jumping"], used["all"], FLOORS["sparse"])


def far_keyframes(rounds: int) -> None:
    """The same where a keyframe is rare: x264's own ten seconds."""
    path = made_film("long-10s.mp4", (640, 360), 60, gop=250)
    every_s = 8
    assert stills(path, every_s, is_sparse=True) == stills(path, every_s, is_sparse=False)
    ways = {name: (lambda way=name == "jumping": stills(path, every_s, is_sparse=way)) for name in ("jumping", "all")}
    used = best(rounds, ways)
    print(f"60 s of 360p, a keyframe every 10 s, a frame every 8 s: {used['jumping']:.2f} CPU s, all {used['all']:.2f}")
    told("  sparse, far keyframes", used["jumping"], used["all"], FLOORS["sparse"])


def our_ladder(path: Path, thumbnail_s: float | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as file, Reel(file) as reel:
        Ladder(reel, folder, LadderWish(SIDES, Encoding("h264", 23, "veryfast"), thumbnail_s)).write()


def their_ladder(path: Path) -> None:
    """The same renditions, settings and segments by the program."""
    names = [f"s{side}" for side in SIDES]
    graph = [f"[0:v]split={len(SIDES)}" + "".join(f"[{name}]" for name in names)]
    graph += [f"[{name}]scale=-2:{side}:flags=bicubic[v{side}]" for name, side in zip(names, SIDES, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(path), "-filter_complex", ";".join(graph)]
        for number, side in enumerate(SIDES):
            width, height = SHOWN_WH[side]
            bits = round(FULL_HD_BITS * (width * height / FULL_HD) ** 0.9)
            command += ["-map", f"[v{side}]", f"-maxrate:v:{number}", str(bits), f"-bufsize:v:{number}", str(2 * bits)]
        command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", "1"]
        command += ["-x264-params", "scenecut=0:open-gop=0", "-force_key_frames", "expr:gte(t,n_forced*4)"]
        command += ["-map", "0:a", "-map", "0:a", "-c:a", "aac", "-b:a", "128k", "-ar", "48000"]
        command += ["-f", "hls", "-hls_time", "4", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"]
        command += ["-var_stream_map", "v:0,a:0 v:1,a:1", "-master_pl_name", "master.m3u8", f"{folder}/%v/index.m3u8"]
        subprocess.run(command, check=True, cwd=folder)


def ladders(rounds: int) -> None:
    path = made_film("short.mp4", (1280, 720), 16)
    used = best(
        rounds,
        {
            "ours": lambda: our_ladder(path),
            "with thumbnails": lambda: our_ladder(path, 2.0),
            "ffmpeg": lambda: their_ladder(path),
        },
    )
    print(f"16 s of 720p to 360p and 720p: {', '.join(f'{name} {spent:.2f} CPU s' for name, spent in used.items())}")
    told("  hls", used["ours"], used["ffmpeg"], FLOORS["hls"])


def our_frames(path: Path) -> int:
    """The whole stage: rows with facts and hashes, a dataset folder."""
    with tempfile.TemporaryDirectory() as folder, imgprep.session("local", workers=0):
        return film.extract_frames(path, f"{folder}/out", every_s=1).counts()["ok"]


def decord_frames(path: Path) -> int:
    """The same pictures by decord, into one Parquet file."""
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    rate = reader.get_avg_fps()
    numbers = [round(second * rate) for second in range(int(len(reader) / rate))]
    images = [codec.encode(reader[number].asnumpy(), "JPEG", quality=95) for number in numbers]
    pq.write_table(pa.table({"image": images}), io.BytesIO())
    return len(images)


def frames(rounds: int) -> None:
    path = made_film("long-2s.mp4", (1920, 1080), 60)
    contestants: dict[str, Callable[[], object]] = {"ours": lambda: our_frames(path)}
    if importlib.util.find_spec("decord"):
        contestants["decord"] = lambda: decord_frames(path)
    else:
        print("decord is not installed: `pip install decord` (0.6.0); `ray.data.read_videos` needs it, too")
    used = best(rounds, contestants)
    for name, spent in used.items():
        print(f"60 frames, one a second, of 1080p to a dataset: {name} {60 / spent:.1f} frames per CPU s")
    if "decord" in used:
        told("  frames", used["decord"], used["ours"], FLOORS["frames"], is_less=False)


def by_ray(rounds: int) -> None:
    """Every frame of a film: `ray.data.read_videos`, encoded and written, beside ours on Ray."""
    import ray.data

    path = made_film("short.mp4", (1280, 720), 16)

    def encoded(batch: dict) -> dict:
        return {"image": [codec.encode(image, "JPEG", quality=95) for image in batch["frame"]]}

    def theirs() -> None:
        with tempfile.TemporaryDirectory() as folder:
            ray.data.read_videos([str(path)]).map_batches(encoded, batch_size=16).write_parquet(f"{folder}/out")

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            film.extract_frames(path, f"{folder}/out", every_s=0.001)

    walls: dict[str, float] = {}
    with imgprep.session("ray", workers=2):
        imgprep.engine.start_ray()
        for _ in range(rounds + 1):  # the first one warms up
            for name, work in {"ours": ours, "read_videos": theirs}.items():
                started = time.monotonic()
                work()
                walls[name] = min(walls.get(name, float("inf")), time.monotonic() - started)
    for name, spent in walls.items():
        print(f"all 400 frames of 720p to a dataset, on Ray: {name} {400 / spent:.1f} frames/s")
    told("  frames", walls["read_videos"], walls["ours"], FLOORS["frames"], is_less=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true", help="also beside ray.data.read_videos")
    options = parser.parse_args()
    if not shutil.which("ffmpeg"):
        sys.exit("needs the program ffmpeg, which makes the films")
    sparse(options.rounds)
    far_keyframes(options.rounds)
    ladders(options.rounds)
    frames(options.rounds)
    if options.ray:
        by_ray(options.rounds)


if __name__ == "__main__":
    main()
