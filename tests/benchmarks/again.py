"""The products pipeline over the sample, and again when it is finished. See README.md here."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ENVIRONMENT

STAGES = ("images.download(", "images.transform(")


def run(folder: str, tables: dict[str, Path]) -> None:
    """One run of the pipeline as a command; prints what each stage took, and whether Ray was started."""
    given = [f"train_csv={tables['train']}", f"test_csv={tables['test']}", f"out={folder}/out"]
    # Under 5 s, so that the sample's slow picture is taken for what it is, and not tried again.
    given += ['allow_hosts=["127.0.0.1"]', "timeout_s=3"]
    command = [sys.executable, "-m", "imgprep", "run", "products", *(a for g in given for a in ("-p", g))]
    began = time.perf_counter()
    said = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    if said.returncode:
        sys.exit(said.stdout + said.stderr)
    stages, reports = [], Path(folder, "reports", "products")
    for notebook in sorted((reports / (reports / "latest").read_text().strip()).glob("*.ipynb")):
        for cell in json.loads(notebook.read_text())["cells"]:
            if any(verb in "".join(cell["source"]) for verb in STAGES):
                stages.append(f"{notebook.stem} {cell['metadata']['papermill']['duration']:.2f} s")
    ray = "Ray was started" if "starting Ray" in said.stdout + said.stderr else "no Ray"
    whole = f"the command, with its kernels and the report {time.perf_counter() - began:.1f} s"
    print(f"{', '.join(stages)}; {ray}; {whole}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    from imgprep import sample

    with tempfile.TemporaryDirectory() as folder:
        tables = sample.make(Path(folder, "sample"), rows=given.rows)
        with sample.serve(Path(folder, "sample")):
            print("first:", end=" ", flush=True)
            run(folder, tables)
        for _ in range(given.rounds):
            print("again (each stage under 2 s):", end=" ", flush=True)
            run(folder, tables)


if __name__ == "__main__":
    main()
