"""The command line: `imgprep run NAME`, `demo`, `ls`, `diff`, `report`, `publish` …"""

import argparse
import sys
from collections.abc import Sequence

from imgprep import __version__
from imgprep.app import commands
from imgprep.serve.commands import add_backup, add_serve, add_work

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

AGAIN = "run the notebooks even where nothing has changed since the last run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # Long runs are followed in logs: a line must arrive when it is written.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    options = parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    # 2 as argparse has it: something in the command is to be corrected.
    except ValueError as e:
        return _complain(e, 2)
    except KeyboardInterrupt:
        return _complain(
            "interrupted. Run the same command again to go on: finished work is kept.", 130
        )
    except OSError as e:
        from imgprep.words import sentence

        return _complain(sentence(e), 1)
    except RuntimeError as e:
        from imgprep.failures import RunStopped

        return _complain(e, 3 if isinstance(e, RunStopped) else getattr(e, "exit_code", 1))


def _complain(why: object, code: int) -> int:
    print(f"imgprep: {why}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    whole = argparse.ArgumentParser(
        prog="imgprep",
        description="Make image datasets by running notebooks: tables of URLs in, a Hugging Face dataset out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"imgprep {__version__}")
    found = whole.add_subparsers(metavar="COMMAND", required=True)
    _add_run(found)
    demo = found.add_parser("demo", help="run `products` on a sample that it makes itself")
    demo.add_argument(
        "--engine", choices=("auto", "ray", "local"), help="what computes; auto unless given"
    )
    demo.add_argument("--again", action="store_true", help=AGAIN)
    demo.set_defaults(command=commands.run_demo)
    _add_inventory(found)
    _add_looking(found)
    _add_publish(found)
    add_serve(found)
    add_work(found)
    add_backup(found)
    # prefix_chars: all that begins with "-" is JupyterLab's.
    lab = found.add_parser("lab", help="open JupyterLab on notebooks/", prefix_chars="+")
    lab.add_argument(
        "options", nargs=argparse.REMAINDER, help="passed on, for example --no-browser --port 8899"
    )
    lab.set_defaults(command=commands.open_lab)
    return whole


def _add_run(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    # Its help depends on the pipeline, so argparse does not print it.
    what = "run the notebooks of pipelines/NAME.yaml"
    run = found.add_parser("run", help=what, add_help=False)
    run.add_argument(
        "name", nargs="?", metavar="NAME", help="a pipeline, or the path of a YAML file"
    )
    run.add_argument(
        "-p",
        dest="given",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=_assignment,
        help="set a parameter of the pipeline, or with STEP.NAME=VALUE of one step",
    )
    run.add_argument(
        "--dry-run", action="store_true", help="only say what would be computed, and why"
    )
    run.add_argument("--again", action="store_true", help=AGAIN)
    asks = "with NAME: list the parameters of that pipeline"
    run.add_argument("-h", "--help", action="store_true", help=asks)
    run.set_defaults(command=commands.run_pipeline, usage=run)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value


def _add_inventory(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ls = found.add_parser("ls", help="the dataset folders there are: rows, size, age")
    where = "where to look, also s3://…; data/ unless given"
    ls.add_argument("folders", nargs="*", metavar="FOLDER", help=where)
    ls.set_defaults(command=commands.list_datasets)

    what = "how dataset folder B differs from A; 1 if it does"
    diff = found.add_parser("diff", help=what)
    diff.add_argument("a", metavar="A")
    diff.add_argument("b", metavar="B")
    diff.set_defaults(command=commands.compare)

    what = "is every file of a dataset folder what was written? 1 if not"
    check = found.add_parser("check", help=what)
    where = "dataset folders, or folders of them; data/ unless given"
    check.add_argument("folders", nargs="*", metavar="FOLDER", help=where)
    where = "the variable that holds the store's credentials, as upload was given"
    check.add_argument("--credentials-env", metavar="NAME", help=where)
    check.set_defaults(command=commands.check_bytes)

    what = "delete old runs, litter, and what is kept of rows that left"
    clean = found.add_parser("clean", help=what)
    where = "of dataset folders; data/ unless given"
    clean.add_argument("folders", nargs="*", metavar="FOLDER", help=where)
    kept = "runs of each pipeline that stay (3)"
    clean.add_argument("--keep", type=int, default=3, metavar="N", help=kept)
    clean.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    clean.set_defaults(command=commands.throw_away)


def _add_publish(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "put a dataset folder on the Hugging Face Hub"
    publish = found.add_parser("publish", help=what)
    publish.add_argument("folder", metavar="FOLDER")
    nothing = "none: only say what would be published"
    publish.add_argument("repo_id", metavar="OWNER/NAME", nargs="?", help=nothing)
    licence = "an id of the Hub's list: cc-by-4.0, cc0-1.0, other …; needed once"
    publish.add_argument("--licence", "--license", metavar="ID", help=licence)
    classes = "a column of classes, published as ClassLabel"
    publish.add_argument("--class-column", metavar="NAME", help=classes)
    left_out = "columns that are not published"
    publish.add_argument("--drop-columns", metavar="NAME", nargs="+", default=[], help=left_out)
    placeholders = "also rows whose picture could not be had"
    publish.add_argument("--include-placeholders", action="store_true", help=placeholders)
    places = "leave the places where pictures were taken in them; else they are blanked"
    publish.add_argument("--allow-gps", action="store_true", help=places)
    public = "for a new repository; one that is there stays as it is"
    publish.add_argument("--public", action="store_true", help=public)
    publish.add_argument("--tag", metavar="NAME", help="a name for this version")
    token = "the variable that holds your token (HF_TOKEN); else your saved login is used"
    publish.add_argument("--token-env", metavar="NAME", default="HF_TOKEN", help=token)
    publish.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    publish.set_defaults(command=commands.publish_folder)


def _add_looking(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    report = found.add_parser("report", help="one HTML page that shows dataset folders")
    order = "in the order they were made; the last one is the result"
    report.add_argument("folders", metavar="FOLDER", nargs="+", help=order)
    where = "the page (report.html)"
    report.add_argument("--out", metavar="FILE", default="report.html", help=where)
    report.add_argument("--title", metavar="TEXT", help="what it is called")
    report.set_defaults(command=commands.write_report)

    dedup = found.add_parser("dedup", help="pictures of a dataset folder that look alike")
    dedup.add_argument("folder", metavar="FOLDER")
    bits = "bits of 64 in which they may differ, 0 to 12 (6)"
    dedup.add_argument("--distance", type=int, default=6, metavar="N", help=bits)
    without = "write a dataset folder with only the first of each"
    dedup.add_argument("--out", metavar="FOLDER", help=without)
    dedup.set_defaults(command=commands.find_duplicates)
