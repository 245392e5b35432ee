"""2,000 JPEGs from a local nginx to 128 x 128, http and https, beside img2dataset 1.47.0. See README.md here."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, child, measured
from site_of_jpegs import CACHE, jpegs, nginx

SHARD = 250  # rows of an img2dataset shard: small enough that both its processes are busy to the end
RIVAL = """
import json, sys, glob
from img2dataset import download
if __name__ == "__main__":
    urls, out, shard = sys.argv[1:]
    download(url_list=urls, output_folder=out, processes_count=2, thread_count=64, image_size=128, resize_mode="border",
             output_format="webdataset", number_sample_per_shard=int(shard), enable_wandb=False)
    stats = [json.load(open(f)) for f in glob.glob(out + "/*_stats.json")]
    work_s = max(s["end_time"] for s in stats) - min(s["start_time"] for s in stats)
    print(json.dumps({"s": work_s, "ok": sum(s["successes"] for s in stats)}))
"""
FLOORS = {  # floor and goal of what is judged
    ("http", "ray"): ("pictures/s", 2.1, 2.6),
    ("http", "local"): ("pictures/s", 2.4, 3.0),
    ("https", "ray"): ("CPU", 5, 8),
    ("https", "local"): ("CPU", 5, 8),
}


def rival_python() -> Path:
    """The interpreter of a venv with img2dataset, made on the first call; it cannot share ours (opencv<5, pandas<3)."""
    python = CACHE / "img2dataset-1.47.0" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        packages = ["setuptools<81", "img2dataset==1.47.0"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def rival(url: str, count: int, where: Path, **environment: str) -> dict:
    """img2dataset's run: the seconds between its first shard's start and its last one's end, and CPU of the whole."""
    (where / "urls.txt").write_text("".join(f"{url}/{n:05d}.jpg\n" for n in range(count)))
    (where / "rival.py").write_text(RIVAL)
    command = (rival_python(), where / "rival.py", where / "urls.txt", where / "rival", SHARD)
    found = child(*command, NO_ALBUMENTATIONS_UPDATE="1", **environment)
    shutil.rmtree(where / "rival")
    assert found["ok"] == count, found
    return found


def ours(engine: str, url: str, count: int, where: str) -> None:
    """Our run, in this process: the second one of a session, into another folder."""
    import pyarrow as pa

    import imgprep
    from imgprep.stages import images

    names = [f"{n:05d}" for n in range(count)]
    table = pa.table({"image_id": names, "label": ["x"] * count, "source": [f"{url}/{n}.jpg" for n in names]})

    def run(out: str, rows: int) -> None:
        found = images.download({"train": table.slice(0, rows)}, out, size_wh=[128, 128], allow_hosts=["127.0.0.1"])
        assert found.counts()["ok"] == rows, found

    imgprep.session(engine, workers=2)
    run(os.path.join(where, "warm"), min(count, 400))
    found = measured(lambda: run(os.path.join(where, "out"), count))
    imgprep.close()
    print(json.dumps(found))


def contest(url: str, count: int, **environment: str) -> None:
    """One round: one after another, each in processes of its own."""
    with tempfile.TemporaryDirectory() as where:
        fewer = count // 4 // SHARD * SHARD
        few = rival(url, fewer, Path(where), **environment)
        many = rival(url, count, Path(where), **environment)
        # Its start costs more CPU than its work: what counts is what more pictures take.
        theirs = {"pictures/s": count / many["s"], "CPU": (many["whole_cpu_s"] - few["whole_cpu_s"]) / (count - fewer)}
        line("img2dataset", theirs, many)
        for engine in ("ray", "local"):
            out = os.path.join(where, engine)
            os.mkdir(out)
            found = child(sys.executable, __file__, "--ours", engine, url, count, out, **environment)
            mine = {"pictures/s": count / found["s"], "CPU": found["cpu_s"] / count}
            times = {"pictures/s": mine["pictures/s"] / theirs["pictures/s"], "CPU": theirs["CPU"] / mine["CPU"]}
            what, floor, goal = FLOORS[url.partition(":")[0], engine]
            judged = f"x{times['pictures/s']:.2f} pictures/s, x{times['CPU']:.2f} CPU"
            judged += f" ({what}: floor {floor}, goal {goal})"
            line(f"imgprep {engine}", mine, found, judged)
            shutil.rmtree(out)


def line(name: str, rates: dict[str, float], found: dict, judged: str = "") -> None:
    own = f"{rates['pictures/s']:5.0f} pictures/s  {1000 * rates['CPU']:6.2f} CPU ms each"
    whole = f"from start to end {found['whole_s']:5.1f} s, {found['whole_cpu_s']:5.1f} CPU s"
    print(f"{name:14}{own}  others {found['others']:3.0%}  {whole}  {judged}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", nargs=4)
    given = parser.parse_args()
    if given.ours:
        engine, url, count, where = given.ours
        return ours(engine, url, int(count), where)
    sys.path.insert(0, str(ROOT / "tests" / "servers"))
    import certifi
    from hostile_server import make_certificate

    pictures = jpegs(given.count)
    certificate, bundle = make_certificate(CACHE / "loopback.pem"), CACHE / "bundle.pem"
    # As on any machine: our certificate among those of the public authorities, which take time to read.
    bundle.write_bytes(Path(certifi.where()).read_bytes() + Path(certificate).read_bytes())
    for pem in (None, certificate):
        with nginx(pictures, pem) as url:
            print(url.partition(":")[0], flush=True)
            for _ in range(given.rounds):
                contest(url, given.count, SSL_CERT_FILE=str(bundle))


if __name__ == "__main__":
    main()
