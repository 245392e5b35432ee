"""Publishing generated shards to a Hub on loopback: the memory it takes does not grow with the dataset.

python tests/benchmarks/publish.py [--megabytes 2000]
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
EACH = 450_000  # bytes of one picture
LIMIT_MIB = 600


def pictures(folder: Path, megabytes: int) -> list[str]:
    """JPEGs of 64 x 64 pixels with random comments, so that no two have a kilobyte in common."""
    from imgprep.picture import codec

    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    for n in range(megabytes * 1_000_000 // EACH):
        image = rng.integers(0, 256, (64, 64, 3), np.uint8)
        data = codec.encode(image, "JPEG", quality=90)
        comments = b"".join(b"\xff\xfe\xff\xff" + rng.bytes(65533) for _ in range(EACH // 65537))
        paths.append(str(folder / f"{n:06}.jpg"))
        Path(paths[-1]).write_bytes(data[:2] + comments + data[2:])
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000)
    megabytes = parser.parse_args().megabytes
    with tempfile.TemporaryDirectory(prefix="imgprep-publish-") as home:
        from imgprep.stages import images

        paths = pictures(Path(home, "in"), megabytes)
        table = pa.table({"image_id": [Path(p).stem for p in paths], "source": paths})
        images.download({"train": table}, f"{home}/out", batch_size=1000)
        command = [sys.executable, str(ROOT / "tests/servers/hub_server.py"), "--root", f"{home}/hub"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        os.environ |= {"HF_ENDPOINT": server.stdout.readline().strip(), "HF_TOKEN": "hf_write", "HF_HOME": f"{home}/hf"}
        os.environ["PYTHONPATH"] = str(ROOT)
        began = time.monotonic()
        code = "import sys; from imgprep.stages.publish import publish; print(publish(*sys.argv[1:], licence='mit'))"
        client = psutil.Popen([sys.executable, "-c", code, f"{home}/out", "alice/large"])
        peaks = {"here": 0.0, "to load it back": 0.0}
        while client.poll() is None:  # sampled: ru_maxrss of a process begins with that of the one that started it
            for what, processes in zip(peaks, ([client], client.children(recursive=True)), strict=True):
                with contextlib.suppress(psutil.Error):
                    peaks[what] = max(peaks[what], sum(p.memory_info().rss for p in processes) / 2**20)
            time.sleep(0.02)
        server.terminate()
        server.wait()
    text = ", ".join(f"{mib:.0f} MiB {what}" for what, mib in peaks.items())
    print(f"{megabytes} MB in {time.monotonic() - began:.0f} s; at most {text}; limit {LIMIT_MIB} MiB each")
    sys.exit(client.returncode or max(peaks.values()) > LIMIT_MIB)


if __name__ == "__main__":
    main()
