"""What each command of `imgprep` does, once its words are understood."""

import argparse
import os
import shlex
import shutil
import sys
from typing import Any

PUBLISH_OPTIONS = (
    "token_env",
    "licence",
    "class_column",
    "include_placeholders",
    "drop_columns",
    "allow_gps",
    "tag",
    "dry_run",
)
LAB_HELP = """\
usage: imgprep lab [OPTIONS OF JUPYTERLAB]

Opens JupyterLab on notebooks/ of this project; where there are none, those of the package are copied
there first. data/ and reports/ are in the file browser.

  imgprep lab
  imgprep lab --no-browser --port 8899
  jupyter lab --help-all                           all options of JupyterLab
"""
DEMO = {
    "allow_hosts": ["127.0.0.1"],  # the sample's server is on this machine
    "timeout_s": 2,  # some of its pages are never done, on purpose
}


def run_pipeline(options: argparse.Namespace) -> None:
    from imgprep.app import spec

    if not options.name:
        known = ", ".join(spec.names())
        if not options.help:
            raise ValueError(f"which pipeline? There is: {known}")
        options.usage.print_help()
        print(f"\npipelines: {known}")
        return
    if options.help:
        print(describe_pipeline(options.name))
        return
    from imgprep.app import runner

    given: dict[str, Any] = dict(options.given)
    if options.dry_run:
        print(*runner.dry_run(options.name, given), sep="\n")
    else:
        runner.run_notebooks(options.name, given, again=options.again)


def describe_pipeline(name: str) -> str:
    """Its parameters with type, default and help, then those that its steps have besides."""
    from imgprep.app import spec

    found = spec.outline(name)
    title = f"{found.file.stem}: {found.spec['description']}"
    lines = [title, "", f"imgprep run {name} [-p NAME=VALUE ...]", ""]
    lines += [_parameter_line(n, p) for n, p in found.own.items()]
    for step in found.spec["steps"]:
        lines += ["", f"step {step['name']} ({step['notebook']})"]
        for n, p in found.cells[step["name"]].items():
            if n not in step["parameters"]:
                lines.append(_parameter_line(f"{step['name']}.{n}", p))
    return "\n".join(lines)


def _parameter_line(name: str, parameter: Any) -> str:
    from imgprep.app.parameters import spell

    kind = spell(parameter.kind)
    has_none = parameter.default is None and "None" not in kind
    default = "" if has_none else f" = {parameter.default!r}"
    return f"  {f'{name}: {kind}{default}':<44} {parameter.help}".rstrip()


def run_demo(options: argparse.Namespace) -> None:
    from imgprep import sample
    from imgprep.app import runner
    from imgprep.project import resolve

    tables = sample.make(resolve("data/sample"))  # notebook 01 serves it
    given = {"train_csv": str(tables["train"]), "test_csv": str(tables["test"]), **DEMO}
    command = "imgprep demo"
    if options.engine:
        given["engine"] = options.engine
        command += f" --engine {options.engine}"
    runner.run_notebooks("products", given, command=command, again=options.again)


def list_datasets(options: argparse.Namespace) -> None:
    from imgprep.app import inventory
    from imgprep.project import resolve

    print(inventory.listing(options.folders or [resolve("data")]))


def compare(options: argparse.Namespace) -> int:
    from imgprep.app.comparison import differences

    found = differences(options.a, options.b)
    for what, ids in found.items():
        more = " …" if len(ids) > 3 else ""
        print(f"{len(ids):,} {what}: {', '.join(ids[:3])}{more}")
    # As diff(1) does: 1 is "they differ", no fault.
    return 1 if found else 0


def check_bytes(options: argparse.Namespace) -> int:
    from imgprep.app import soundness
    from imgprep.project import resolve

    looked_at = soundness.check_folders(
        options.folders or [resolve("data")], options.credentials_env
    )
    for found in looked_at:
        print(*found.lines(), sep="\n")
    return 1 if any(found.problems for found in looked_at) else 0


def throw_away(options: argparse.Namespace) -> None:
    from imgprep.app import inventory
    from imgprep.project import resolve, short
    from imgprep.words import bytes_text

    roots = options.folders or [resolve("data")]
    gone = inventory.sweep(roots, keep=options.keep, dry_run=options.dry_run)
    for path, _ in gone:
        print(short(path))
    done = "would be deleted" if options.dry_run else "deleted"
    size = bytes_text(sum(size for _, size in gone))
    print(f"{len(gone)} files and runs, {size}, {done}")


def publish_folder(options: argparse.Namespace) -> int:
    from imgprep.stages import publish

    given = {name: getattr(options, name) for name in PUBLISH_OPTIONS}
    result = publish.publish(options.folder, options.repo_id, private=not options.public, **given)
    print(result)
    return 2 if result.problems and not result.commit else 0


def write_report(options: argparse.Namespace) -> None:
    from imgprep.display import report
    from imgprep.project import short

    title = options.title or ", ".join(map(short, options.folders))
    command = shlex.join(["imgprep", "report", *options.folders])
    path = report.write(options.out, options.folders, title=title, command=command)
    print(f"report   {short(path)}")


def find_duplicates(options: argparse.Namespace) -> None:
    from imgprep import dataset
    from imgprep.app import dedup
    from imgprep.project import short

    ds = dataset.open(options.folder)
    groups = dedup.look_alikes(ds, max_distance=options.distance)
    dedup.say_groups(groups)
    if options.out:
        made = dedup.write_deduplicated(ds, groups, options.out)
        print(f"{made!r}\ndataset  {short(made.folder)}")


def open_lab(options: argparse.Namespace) -> None:
    from imgprep.app.spec import homes
    from imgprep.project import project_root

    if {"-h", "--help"} & set(options.options):
        print(LAB_HELP, end="")
        return
    root = project_root()
    if not (root / "notebooks").is_dir():
        shutil.copytree(homes()[-1] / "notebooks", root / "notebooks")
        print(f"notebooks copied to {root / 'notebooks'}")
    # The root of the file browser is the project: data/ and reports/ can be reached from notebooks.
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    command += ["--LabApp.default_url=/lab/tree/notebooks"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container there is often nobody else
    # execv: signals and the exit code are JupyterLab's own then, without a process between.
    os.execv(sys.executable, command + options.options)
