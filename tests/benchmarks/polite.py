"""A host that allows 8 requests at once and 50 a second, beside img2dataset 1.47.0. See README.md here."""

import argparse
import glob
import json
import shutil
import sys
import tempfile
from pathlib import Path

from measure import ROOT, child

ROWS = 400
RIVAL = """
import sys
from img2dataset import download
if __name__ == "__main__":
    urls, out = sys.argv[1:]
    download(url_list=urls, output_folder=out, processes_count=2, thread_count=16, image_size=128, resize_mode="border",
             output_format="webdataset", number_sample_per_shard=200, retries=3, enable_wandb=False)
"""


def ours(url: str, out: str) -> None:
    import pyarrow as pa

    import imgprep
    from imgprep.stages import images

    names = [str(n) for n in range(ROWS)]
    table = pa.table({"image_id": names, "source": [f"{url}/polite/{n}" for n in names]})
    imgprep.session("local", workers=2)
    found = images.download({"train": table}, out, size_wh=[128, 128], allow_hosts=["127.0.0.1"], max_failed=1.0)
    imgprep.close()
    run = found.runs()[-1]
    print(json.dumps({"ok": found.counts()["ok"], "s": run["seconds"]}))


def rival(url: str, where: Path) -> dict:
    from download import rival_python

    (where / "urls.txt").write_text("".join(f"{url}/polite/{n}\n" for n in range(ROWS)))
    (where / "rival.py").write_text(RIVAL)
    child(rival_python(), where / "rival.py", where / "urls.txt", where / "out", NO_ALBUMENTATIONS_UPDATE="1")
    stats = [json.loads(Path(f).read_text()) for f in glob.glob(f"{where}/out/*_stats.json")]
    seconds = max(s["end_time"] for s in stats) - min(s["start_time"] for s in stats)
    shutil.rmtree(where / "out")
    return {"ok": sum(s["successes"] for s in stats), "s": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", nargs=2)
    given = parser.parse_args()
    if given.ours:
        return ours(*given.ours)
    sys.path.insert(0, str(ROOT / "tests" / "servers"))
    import hostile_server
    import numpy as np

    from imgprep.picture import codec

    shades = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3)

    def picture(name: str) -> bytes:
        return codec.encode((shades * (int(name) + 1) % 251).astype(np.uint8)[::4, ::4], "JPEG")

    hostile_server.picture = picture  # real ones, each different, under the 5,000 bytes that /polite/ sends
    for _ in range(given.rounds):
        for name in ("img2dataset", "imgprep"):
            with hostile_server.HostileServer() as server, tempfile.TemporaryDirectory() as where:
                if name == "imgprep":
                    found = child(sys.executable, __file__, "--ours", server.url, f"{where}/out")
                else:
                    found = rival(server.url, Path(where))
                refused = server.answers[429] / max(1, sum(server.answers.values()))
            print(f"{name:12} {found['ok']} of {ROWS} rows in {found['s']:.1f} s, {refused:.1%} of answers were 429"
                  + " (400 of 400, under 5 %)" * (name == "imgprep"), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
