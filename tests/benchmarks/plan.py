"""Planning a download of 1,000,000 rows from a CSV, and again with one row more. See README.md here."""

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
    from imgprep.resume import make, work
    from imgprep.rows import sources
    from imgprep.stages import images

    def stand_ins(self: work.Work, task) -> dict:
        rows = [make.picture_row(wanted.key, b"x" * 20, (1, 1, "JPEG")) for wanted in task.payload]
        return self.parts.write(task, rows)

    work.Work.__call__ = stand_ins
    imgprep.session("local", workers=0)
    tables = sources.read({"train": csv}, url_column="image_link")
    found = measured(lambda: images.download(tables, out, size_wh=[128, 128]))
    print(json.dumps(found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def line(name: str, found: dict) -> None:
    print(f"{name:22} read {found['read_s']:5.1f} s {found['read_cpu_s']:5.1f} CPU s   plan {found['plan_s']:5.1f} s "
          f"{found['plan_cpu_s']:5.1f} CPU s   together {found['whole_cpu_s']:5.1f} CPU s   "
          f"peak {found['peak_mib']:.0f} MiB (floor 60 s and 2 GB, goal 20 s and 1 GB)", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", nargs=3)
    given = parser.parse_args()
    if given.step:
        name, csv, out = given.step
        return {"plan": plan, "finish": finish}[name](csv, out)
    with tempfile.TemporaryDirectory() as where:
        first, more, out = f"{where}/first.csv", f"{where}/more.csv", f"{where}/out"
        make_csv(Path(first), given.rows)
        make_csv(Path(more), given.rows, extra=1)
        for _ in range(given.rounds):
            line(f"{given.rows:,} rows", child(sys.executable, __file__, "--step", "plan", first, out))
        made = child(sys.executable, __file__, "--step", "finish", first, out)
        print(f"(stand-ins gathered: {made['cpu_s']:.0f} CPU s, peak {made['peak_mib']:.0f} MiB)", flush=True)
        for _ in range(given.rounds):
            line("one row more", child(sys.executable, __file__, "--step", "plan", more, out))
        made = child(sys.executable, __file__, "--step", "finish", more, out)
        print(f"(the row at the top, gathered: {made['cpu_s']:.0f} CPU s, peak {made['peak_mib']:.0f} MiB)", flush=True)


if __name__ == "__main__":
    main()
