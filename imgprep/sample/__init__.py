"""The demo's sample: tables and pictures made here,
and the web server that misbehaves with them.
"""

from pathlib import Path

from imgprep.project import project_root, resolve
from imgprep.sample.balls import BALLS_MODEL
from imgprep.sample.balls import make_balls as balls
from imgprep.sample.films import make_films as films
from imgprep.sample.prints import make_prints as prints
from imgprep.sample.products import FORMAT, PORT, URL_KINDS, SampleRow, about_sample, plan
from imgprep.sample.products import make_products as make
from imgprep.sample.server import serve
from imgprep.sample.snapshots import make_snapshots as snapshots
from imgprep.words import say

__all__ = [
    "FORMAT",
    "PORT",
    "SampleRow",
    "URL_KINDS",
    "balls",
    "detector",
    "films",
    "make",
    "plan",
    "prints",
    "ready",
    "serve",
    "snapshots",
    "specimen",
]


def ready(*paths: str | Path | None) -> None:
    """If one of `paths` lies in the project's own sample,
    make that, and serve it from this process.

    Otherwise do nothing. For the first cell of a notebook whose defaults are the sample.
    """
    home = project_root() / "data" / "sample"
    if "data/prints" in paths:  # notebook 03's
        prints(project_root() / "data" / "prints")
    if "data/films" in paths:  # notebook 10's
        films(project_root() / "data" / "films")
    if any(str(path).startswith("data/balls/") for path in paths):  # notebook 09's
        balls(project_root() / "data" / "balls")
    if "data/snapshots" in paths:  # notebook 08's
        snapshots(project_root() / "data" / "snapshots")
    if not any(Path(resolve(path)).is_relative_to(home) for path in paths if path):
        return
    if (about_sample(home) or {}).get("format") != FORMAT:
        say(f"making the sample in {home.relative_to(project_root())}: 1,200 pictures, once")
        make(home)
    if home not in _served:
        _served.add(home)
        serve(home)


def detector(model: str) -> str:
    """The file of the demo's detector for "demo", which sees coloured balls; else the model as it
    is given.
    """
    if model != "demo":
        return model
    folder = project_root() / "data" / "balls"
    balls(folder)
    say("the model is the demo's: it sees red, green and blue balls, and nothing else")
    return str(folder / BALLS_MODEL)


_served: set[Path] = set()  # by this process, while it lives


def specimen(source: str, truth: str | None = None) -> str | None:
    """If they are of the project's own sample slide, make that; returns the cells' truth.

    Without a truth that was given it is the sample's own, for the sample only.
    """
    # Only here: GDAL is an extra, and nothing else of the sample needs it.
    from imgprep.sample.slide import ready as ready_slide

    return ready_slide(source, truth)
