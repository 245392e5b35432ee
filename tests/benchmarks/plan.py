"""1,000,000 rows of a CSV: planned, stand-ins committed, one row more, publish's plan. See README.md here."""

import argparse
import json
import resource
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from measure import child, measured


def make_csv(path: Path, rows: int, extra: int = 0) -> None:
    """url, label; `extra` rows of their own come first."""
    with path.open("w") as file:
        file.write("image_link,group_id,entity_name,entity_value\n")
        for n in range(-extra, rows):
            file.write(f"https://images.example.org/photos/{n:07d}/main.jpg,{n % 750},item_weight,{n % 999}.5 gram\n")


def plan(csv: str, out: str) -> None:
    """Read the table and say what would be computed, in a fresh process; seconds, CPU seconds, the most memory."""
    import imgprep
    from imgprep.rows import sources
    from imgprep.stages import images

    imgprep.session("local", workers=2)
    found: dict = {}
    tables: dict = {}
    read = measured(lambda: tables.update(sources.read({"train": csv}, url_column="image_link")))
    found |= {"read_s": read["s"], "read_cpu_s": read["cpu_s"]}
    with redirect_stdout(sys.stderr):
        planned = measured(lambda: images.download(tables, out, size_wh=[128, 128], dry_run=True))
    found |= {"plan_s": planned["s"], "plan_cpu_s": planned["cpu_s"]}
    print(json.dumps(found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def finish(csv: str, out: str) -> None:
    """A finished dataset of these rows, without a million downloads: the work of a unit gives stand-ins instead."""
    import imgprep
    from imgprep import engine
    from imgprep.resume import make, work
    from imgprep.rows import sources
    from imgprep.stages import images

    one = stand_in()

    def stand_ins(self: work.Work, task) -> engine.Summary:
        return self.parts.write(task, [make.picture_row(wanted.key, one, (1, 1, "JPEG")) for wanted in task.payload])

    work.Work.__call__ = stand_ins
    imgprep.session("local", workers=0)
    tables = sources.read({"train": csv}, url_column="image_link")
    with redirect_stdout(sys.stderr):
        found = measured(lambda: images.download(tables, out, size_wh=[128, 128]))
    files = [file for file in Path(out).rglob("*") if file.is_file()]
    found |= {"files": len(files), "mib": sum(file.stat().st_size for file in files) / 2**20}
    print(json.dumps(found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def stand_in() -> bytes:
    """The smallest JPEG: what publish looks into must be one."""
    import numpy as np

    from imgprep.picture import codec

    return codec.encode(np.zeros((1, 1, 3), np.uint8), "JPEG")


def publish(csv: str, out: str) -> None:
    """What publishing that folder would send: its plan, without a Hub."""
    from imgprep.stages.publish import publish as to_hub

    with redirect_stdout(sys.stderr):
        found = measured(lambda: to_hub(out, licence="cc0-1.0"))
    print(json.dumps(found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def line(name: str, found: dict) -> None:
    print(f"{name:22} read {found['read_s']:5.1f} s {found['read_cpu_s']:5.1f} CPU s   plan {found['plan_s']:5.1f} s "
          f"{found['plan_cpu_s']:5.1f} CPU s   together {found['whole_cpu_s']:5.1f} CPU s   "
          f"peak {found['peak_mib']:.0f} MiB (floor 60 s and 2 GB, goal 20 s and 1 GB)", flush=True)  # fmt: skip


def told(name: str, made: dict) -> None:
    files = f", {made['files']:,} files of {made['mib']:,.0f} MiB" if "files" in made else ""
    took = f"{made['s']:.0f} s, {made['cpu_s']:.0f} CPU s, peak {made['peak_mib']:,.0f} MiB"
    print(f"({name}: {took}{files})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-plan", action="store_true")
    parser.add_argument("--step", nargs=3)
    given = parser.parse_args()
    if given.step:
        name, csv, out = given.step
        return {"plan": plan, "finish": finish, "publish": publish}[name](csv, out)
    with tempfile.TemporaryDirectory() as where:
        first, more, out = f"{where}/first.csv", f"{where}/more.csv", f"{where}/out"
        make_csv(Path(first), given.rows)
        make_csv(Path(more), given.rows, extra=1)
        for _ in range(given.rounds):
            line(f"{given.rows:,} rows", child(sys.executable, __file__, "--step", "plan", first, out))
        if given.only_plan:
            return
        told("stand-ins gathered", child(sys.executable, __file__, "--step", "finish", first, out))
        for _ in range(given.rounds):
            line("one row more", child(sys.executable, __file__, "--step", "plan", more, out))
        told("the row at the top, gathered", child(sys.executable, __file__, "--step", "finish", more, out))
        told("publish's plan", child(sys.executable, __file__, "--step", "publish", more, out))


if __name__ == "__main__":
    main()
