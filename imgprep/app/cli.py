"""The command line: `imgprep run NAME`, `demo`, `ls`, `diff`, `clean`, `publish`, `lab`."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from imgprep import __version__
from imgprep.serve.commands import add_serve

EPILOG = """\
examples:
  imgprep demo                                     try it on a sample, without a network
  imgprep run products --help                      the parameters of a pipeline
  imgprep run products -p train_csv=my.csv -p out=data/mine -p size_wh=[256,256]
  imgprep run products -p ocr.contrast=true        a parameter of one step
  imgprep run products --dry-run                   what would be computed, and why

Running again goes on where a run stopped. Exit code: 0 done, 1 a notebook failed, 2 something to correct in the
command, 3 stopped because too much failed, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # Long runs are followed in logs: a line must arrive when it is written.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.command(options) or 0
    except ValueError as e:
        return _complain(e, 2)
    except KeyboardInterrupt:
        return _complain("interrupted. Run the same command again to go on: finished work is kept.", 130)
    except OSError as e:
        return _complain(e, 1)
    except RuntimeError as e:
        from imgprep.failures import RunStopped

        return _complain(e, 3 if isinstance(e, RunStopped) else getattr(e, "exit_code", 1))


def _complain(why: object, code: int) -> int:
    print(f"imgprep: {why}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imgprep",
        description="Make image datasets by running notebooks: tables of URLs in, a Hugging Face dataset out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"imgprep {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    # Its help depends on the pipeline, so argparse does not print it.
    run = commands.add_parser("run", help="run a pipeline: the notebooks of pipelines/NAME.yaml", add_help=False)
    run.add_argument("name", nargs="?", metavar="NAME", help="a pipeline, or the path of a YAML file")
    run.add_argument("-p", dest="given", metavar="NAME=VALUE", action="append", default=[], type=_assignment,
                     help="set a parameter of the pipeline, or with STEP.NAME=VALUE of one step")  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="only say what would be computed, and why")
    run.add_argument("-h", "--help", action="store_true", help="with NAME: list the parameters of that pipeline")
    run.set_defaults(command=_run, usage=run)

    demo = commands.add_parser("demo", help="run `products` on a sample of product pictures that it makes itself")
    demo.set_defaults(command=_demo)

    ls = commands.add_parser("ls", help="the dataset folders there are: rows, size, age")
    ls.add_argument("folders", nargs="*", metavar="FOLDER", help="where to look, also s3://…; data/ unless given")
    ls.set_defaults(command=_ls)

    diff = commands.add_parser("diff", help="how dataset folder B differs from A; exit code 1 if it does")
    diff.add_argument("a", metavar="A")
    diff.add_argument("b", metavar="B")
    diff.set_defaults(command=_diff)

    clean = commands.add_parser("clean", help="delete old runs and what killed ones left; never data")
    clean.add_argument("folders", nargs="*", metavar="FOLDER", help="of dataset folders; data/ unless given")
    clean.add_argument("--keep", type=int, default=3, metavar="N", help="runs of each pipeline that stay (3)")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    clean.set_defaults(command=_clean)

    publish = commands.add_parser("publish", help="put a dataset folder on the Hugging Face Hub, private, in one step")
    publish.add_argument("folder", metavar="FOLDER")
    publish.add_argument("repo_id", metavar="OWNER/NAME", nargs="?", help="none: only say what would be published")
    publish.add_argument("--licence", metavar="ID", help="cc-by-4.0, cc0-1.0, other …; needed once")
    publish.add_argument("--class-column", metavar="NAME", help="a column of classes, published as ClassLabel")
    publish.add_argument("--tag", metavar="NAME", help="a name for this version")
    publish.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    publish.set_defaults(command=_publish)

    add_serve(commands)

    lab = commands.add_parser("lab", help="open JupyterLab on notebooks/", prefix_chars="+")
    lab.add_argument("options", nargs=argparse.REMAINDER, help="passed on, for example --no-browser --port 8899")
    lab.set_defaults(command=_lab)
    return parser


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value


def _run(options: argparse.Namespace) -> None:
    from imgprep.app import pipeline

    if not options.name:
        if not options.help:
            raise ValueError(f"which pipeline? There is: {', '.join(pipeline.names())}")
        options.usage.print_help()
        print(f"\npipelines: {', '.join(pipeline.names())}")
    elif options.help:
        print(_describe(options.name))
    else:
        from imgprep.app import runner

        given: dict[str, Any] = dict(options.given)
        if options.dry_run:
            print(*runner.dry_run(options.name, given), sep="\n")
        else:
            runner.run(options.name, given)


def _describe(name: str) -> str:
    """A pipeline's parameters with type, default and help, then those that its steps have besides."""
    from imgprep.app import pipeline
    from imgprep.app.parameters import Parameter, spell

    def line(name: str, p: Parameter) -> str:
        default = "" if p.default is None and "None" not in spell(p.kind) else f" = {p.default!r}"
        return f"  {f'{name}: {spell(p.kind)}{default}':<44} {p.help}".rstrip()

    found = pipeline.outline(name)
    lines = [f"{found.file.stem}: {found.spec['description']}", "", f"imgprep run {name} [-p NAME=VALUE ...]", ""]
    lines += [line(n, p) for n, p in found.own.items()]
    for step in found.spec["steps"]:
        rest = {n: p for n, p in found.cells[step["name"]].items() if n not in step["parameters"]}
        lines += ["", f"step {step['name']} ({step['notebook']})"]
        lines += [line(f"{step['name']}.{n}", p) for n, p in rest.items()]
    return "\n".join(lines)


def _demo(options: argparse.Namespace) -> None:
    from imgprep import sample
    from imgprep.app import runner
    from imgprep.project import resolve

    tables = sample.make(resolve("data/sample"))
    with sample.serve(resolve("data/sample")):
        given = {
            "train_csv": str(tables["train"]),
            "test_csv": str(tables["test"]),
            "allow_hosts": ["127.0.0.1"],  # the sample's server is on this machine
            "timeout_s": 2,  # some of its pages are never done, on purpose
        }
        runner.run("products", given, command="imgprep demo")


def _ls(options: argparse.Namespace) -> None:
    from imgprep.app import inventory
    from imgprep.project import resolve

    print(inventory.listing(options.folders or [resolve("data")]))


def _diff(options: argparse.Namespace) -> int:
    from imgprep.app import inventory

    found = inventory.diff(options.a, options.b)
    for what, ids in found.items():
        print(f"{len(ids):,} {what}: {', '.join(ids[:3])}{' …' if len(ids) > 3 else ''}")
    return 1 if found else 0


def _clean(options: argparse.Namespace) -> None:
    from imgprep.app import inventory
    from imgprep.project import resolve, short
    from imgprep.words import bytes_text

    gone = inventory.clean(options.folders or [resolve("data")], keep=options.keep, dry_run=options.dry_run)
    print(*(short(path) for path, _ in gone), sep="\n", end="\n" * bool(gone))
    done = "would be deleted" if options.dry_run else "deleted"
    print(f"{len(gone)} files and runs, {bytes_text(sum(size for _, size in gone))}, {done}")


def _publish(options: argparse.Namespace) -> None:
    from imgprep.stages import publish

    given = {name: getattr(options, name) for name in ("licence", "class_column", "tag", "dry_run")}
    print(publish.publish(options.folder, options.repo_id, **given))


def _lab(options: argparse.Namespace) -> None:
    from imgprep.app.pipeline import homes
    from imgprep.project import project_root

    root = project_root()
    if not (root / "notebooks").is_dir():
        shutil.copytree(homes()[-1] / "notebooks", root / "notebooks")
        print(f"notebooks copied to {root / 'notebooks'}")
    # The root of the file browser is the project, so that data/ and reports/ can be reached from the notebooks.
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    command += ["--LabApp.default_url=/lab/tree/notebooks"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container there is often nobody else
    os.execv(sys.executable, command + options.options)
