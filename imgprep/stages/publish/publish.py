"""The verb: a dataset folder goes to the Hub, or is shown as it would."""

import json
import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from imgprep import dataset, engine
from imgprep.dataset import COLUMNS, Dataset, lock
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.engine.progress import tell_while
from imgprep.io.hub import Repo
from imgprep.resume import stage
from imgprep.stages.publish import checks, sending, shards
from imgprep.stages.publish.licences import check_licence
from imgprep.stages.publish.plan import PublishPlan
from imgprep.stages.publish.publication import Publication
from imgprep.stages.publish.rewriting import Rules

NEEDED = {"image_id", *COLUMNS} - {"source", "error"}


def publish(
    folder: str | Dataset,
    repo_id: str | None = None,
    *,
    private: bool = True,
    token_env: str | None = "HF_TOKEN",
    licence: str | None = None,
    class_column: str | None = None,
    include_placeholders: bool = False,
    drop_columns: list[str] | tuple[str, ...] = (),
    allow_gps: bool = False,
    tag: str | None = None,
    dry_run: bool = False,
) -> Publication:
    """Check a dataset folder and put it on the Hub, in one step that readers see whole or not at
    all.

    repo_id: "owner/name", or "name" for one's own. None is a dry run that asks nobody; with
        dry_run=True and a repo_id the Hub is asked what would change. private: when the repository
        is made; one that is there stays as it is.
    token_env: the variable that holds the token; else the saved login (`hf auth login`) is used.
    licence: an id of the Hub's list (cc-by-4.0, other …). Needed once, unless a column names each
        picture's licence.
    class_column: a column that is published as ClassLabel. drop_columns: left out.
    include_placeholders: with the ok rows, for test sets that need every row.
    allow_gps: leave the place where a picture was taken in its metadata; else it is blanked, the
        pixels untouched.
    tag: a name for this version. What is on the Hub already is not sent again, and nothing is done
        twice.
    Raises ValueError, before anything is sent, for what must be mended; RunStopped when the Hub or
    the way there fails.
    """
    began = time.monotonic()
    home = Folder(dataset.open(folder).folder)
    is_planned = engine.current().dry_run
    # Held to the end: a run meanwhile would change the files under the upload.
    with lock.hold(home):
        home.sweep()
        ds = Dataset(home)  # now: a run may have been at work
        _check(ds, repo_id, licence, tag)
        dropped = _dropped(ds, drop_columns)
        # Is there a token? Nobody is asked yet.
        repo = Repo(repo_id, token_env) if repo_id else None
        with tell_while("publish: looking through the rows"):
            found = checks.examine(ds, allow_gps=allow_gps, drop_columns=dropped)
        names: tuple[str, ...] = ()
        if class_column and not found.problems:
            names = shards.class_names(ds, class_column)
        rules = Rules(
            class_column=class_column,
            names=names,
            drop_columns=dropped,
            root=found.root,
            keep_gps=allow_gps,
            keep_placeholders=include_placeholders,
        )
        plan = PublishPlan.of(ds, rules, found, licence)
        with tell_while("publish: comparing with the Hub"):
            there = sending.compare_with_hub(plan, repo)
        result = plan.publication(repo, there)
        if dry_run or is_planned or repo is None:
            if is_planned and not dry_run:
                stage.tell_plan(ds.folder, "publish", repr(result).splitlines()[-1])
            return result
        if result.problems:
            raise ValueError("; ".join(result.problems))
        with tell_while("publish: sending"):
            sending.send_plan(plan, repo, there, result, private=private, tag=tag)
        # Sent twice without a change is one publication.
        if result.commit not in [run.get("commit") for run in ds.runs()]:
            _log(ds, result, time.monotonic() - began)
        return result


def _check(
    ds: Dataset,
    repo_id: str | None,
    licence: str | None,
    tag: str | None,
) -> None:
    """ValueError for what cannot be published whatever the Hub says."""
    # 96: the Hub's own limit.
    if repo_id and not re.fullmatch(r"([\w.-]+/)?[\w.-]{1,96}", repo_id):
        raise ValueError(f"repo_id is 'owner/name' on the Hub, not {repo_id!r}")
    if licence is not None:
        check_licence(licence)
    if tag is not None and not re.fullmatch(r"[\w.-]+", tag):
        raise ValueError(f"tag is one word such as 'v1.0', not {tag!r}")
    if not ds.info["complete"]:
        raise ValueError(f"the run that makes {ds.folder} has not finished: run it again first")
    if Folder(ds.folder).size("README.md") is None:
        lost = "has lost its README.md, by which `datasets` opens it"
        raise ValueError(f"{ds.folder} {lost}: run the stage again")
    if not ds.counts()["ok"]:
        raise ValueError(f"{ds.folder} has no row that is ok")


def _dropped(ds: Dataset, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns to drop. ValueError for one that is not there, or that a dataset needs."""
    there = {*shards.columns(ds)} - NEEDED
    if isinstance(columns, str) or {*columns} - there:
        raise ValueError(f"drop_columns is a list of {', '.join(sorted(there))}, not {columns!r}")
    return tuple(columns)


def _log(
    ds: Dataset,
    result: Publication,
    seconds: float,
) -> None:
    """A run's log, so that the report can link to what was published."""
    now = datetime.now(UTC)
    rows = ds.counts()["rows"]
    record: dict[str, Any] = {
        "started": now.isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "stage": "publish",
        "engine": "none",
        "workers": 0,
        "attempts": 0,
        "reasons": {},
        "computed": 0,
        "rows": rows,
        "reused": rows,
        "bytes": result.nbytes,
        "repo": result.repo,
        "url": result.url,
        "commit": result.commit,
        "tag": result.tag,
    }
    name = f"{PRIVATE}/runs/{now:%Y%m%dT%H%M%S%f}-{os.getpid()}.json"
    Folder(ds.folder).put(name, json.dumps(record, indent=1).encode())
