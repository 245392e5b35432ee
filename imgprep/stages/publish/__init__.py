"""A dataset folder on the Hugging Face Hub: checked, shown, put there in one visible step, and loaded back."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Any

from imgprep import engine, hashing
from imgprep.dataset import COLUMNS, Dataset, card
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.failures import RunStopped
from imgprep.io.hub import File, Repo
from imgprep.project import short
from imgprep.resume import stage
from imgprep.stages.publish import checks, facts, shards
from imgprep.stages.publish.loaded import load_back
from imgprep.words import bytes_text

CARD = f"{shards.PLACE}/card.md"  # as it was published last
NEEDED = {"image_id", *COLUMNS} - {"source", "error"}
LOADED_BYTES = 1 << 30  # a config that is larger is only streamed when it is loaded back


@dataclass
class Publication:
    """What is, or would be, on the Hub. repr() and a notebook show what would change, and the card.

    problems: why it cannot be published. notes: what is good to know. commit: "" until it is there. loaded: what was
    loaded back, in words.
    """

    folder: str
    repo: str
    card: str
    added: list[str]
    removed: list[str]
    unchanged: list[str]
    nbytes: int
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    url: str = ""
    commit: str = ""
    tag: str | None = None
    loaded: str = ""

    def __repr__(self) -> str:
        if self.commit:
            parts = [f"{self.url} holds {short(self.folder)} at commit {self.commit[:12]}", self.loaded]
            return ", ".join(filter(None, [*parts, self.tag and f"tagged {self.tag}"]))
        lines = [f"not to be published: {p}" for p in self.problems] + [f"note: {n}" for n in self.notes]
        files = f"{len(self.added):,} file{'s' * (len(self.added) != 1)}"
        change = f"{files} to send ({bytes_text(self.nbytes)}), {len(self.removed):,} to remove"
        return "\n".join([*lines, f"{self.repo}: {change}, {len(self.unchanged)} unchanged"])

    @property
    def body(self) -> str:
        """The card without its head and its picture, which is not there yet."""
        return re.sub(r"\A---\n.*?^---$|^!\[[^\n]*", "", self.card, flags=re.S | re.M)

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(line)}</p>" for line in repr(self).splitlines())
        link = f"<p><a href='{escape(self.url)}'>{escape(self.url)}</a></p>" if self.commit else ""
        for word in ("added", "removed", "unchanged"):
            names = "<br>".join(map(escape, getattr(self, word)[:50]))
            said += f"<details><summary>{len(getattr(self, word)):,} {word}</summary>{names}</details>"
        return f"{link}{said}<details><summary>card</summary><pre>{escape(self.card)}</pre></details>"


def publish(
    folder: str,
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
    """Check a dataset folder and put it on the Hub, in one step that readers see whole or not at all.

    repo_id: "owner/name", or "name" for one's own. None is a dry run that asks nobody; with dry_run=True and a repo_id
        the Hub is asked what would change. private: when the repository is made; one that is there stays as it is.
    token_env: the variable that holds the token; else the saved login (`hf auth login`) is used.
    licence: an id of the Hub's list (cc-by-4.0, other …). Needed once, unless a column names each picture's licence.
    class_column: a column that is published as ClassLabel. drop_columns: left out.
    include_placeholders: with the ok rows, for test sets that need every row.
    allow_gps: leave the place where a picture was taken in its metadata; else it is blanked, the pixels untouched.
    tag: a name for this version. What is on the Hub already is not sent again, and nothing is done twice.
    Raises ValueError, before anything is sent, for what must be mended; RunStopped when the Hub or the way there fails.
    """
    began, home = time.monotonic(), Dataset(folder).folder
    dry = dry_run or not repo_id or engine.current().dry_run
    with stage.lock(Folder(home)):
        Folder(home).sweep()
        ds = Dataset(home)  # now: a run may have been at work
        drop = _checked(ds, repo_id, licence, drop_columns, tag)
        repo = Repo(repo_id, token_env) if repo_id else None  # is there a token? nobody is asked yet
        found = checks.examine(ds, allow_gps=allow_gps, drop_columns=drop)
        names = shards.class_names(ds, class_column) if class_column and not found.problems else ()
        rules = shards.Rules(class_column, names, drop, found.root, allow_gps, include_placeholders)
        plan = _Plan(ds, rules, found, licence)
        there = plan.compare(repo)
        result = plan.publication(repo, there)
        if dry:
            if engine.current().dry_run and not dry_run:
                stage.tell_plan(ds.folder, "publish", repr(result).splitlines()[-1])
            return result
        if result.problems:
            raise ValueError("; ".join(result.problems))
        plan.send(repo, there, result, private=private, tag=tag)
        if result.commit not in [run.get("commit") for run in ds.runs()]:
            _log(ds, result, time.monotonic() - began)
        return result


def _checked(ds: Dataset, repo_id: str | None, licence: str | None, drop: Any, tag: str | None) -> tuple[str, ...]:
    """The columns to drop. ValueError for what cannot be published whatever the Hub says."""
    if repo_id and not re.fullmatch(r"([\w.-]+/)?[\w.-]{1,96}", repo_id):
        raise ValueError(f"repo_id is 'owner/name' on the Hub, not {repo_id!r}")
    if licence is not None and not re.fullmatch(r"[a-z0-9.+-]+", licence):
        raise ValueError(f"licence is an id such as 'cc-by-4.0', 'mit' or 'other', not {licence!r}")
    if tag is not None and not re.fullmatch(r"[\w.-]+", tag):
        raise ValueError(f"tag is one word such as 'v1.0', not {tag!r}")
    if not ds.info["complete"]:
        raise ValueError(f"the run that makes {ds.folder} has not finished: run it again first")
    if Folder(ds.folder).size("README.md") is None:
        raise ValueError(f"{ds.folder} has lost its README.md, by which `datasets` opens it: run the stage again")
    if not ds.counts()["ok"]:
        raise ValueError(f"{ds.folder} has no row that is ok")
    there = {*shards.columns(ds)} - NEEDED
    if isinstance(drop, str) or {*drop} - there:
        raise ValueError(f"drop_columns is a list of {', '.join(sorted(there))}, not {drop!r}")
    return tuple(drop)


class _Plan:
    """What is to stand in the repository: files, card, sample."""

    def __init__(self, ds: Dataset, rules: shards.Rules, found: checks.Findings, licence: str | None):
        self.ds, self.found, self.licence, self.folder = ds, found, licence, Folder(ds.folder)
        self.local = self.folder.get("README.md").decode("utf-8", "replace")
        self.repo_id, self.card, self.files = f"you/{os.path.basename(ds.folder)}", "", []
        if found.problems:
            return
        files, schemas = shards.prepare(ds, rules, found.dirty)
        books, schema = shards.metadata(ds, files, schemas)
        self.files, self.schemas = files + books, {**schemas, "metadata": schema}
        self.sample = shards.sample(ds, self.files)
        self.facts = facts.count(ds, self.files, self.schemas, rules, found)
        if not (licence or card.own_keys(self.local).get("license") or self.facts["licence_column"]):
            found.problems.append("nobody said under which licence: give licence='cc-by-4.0', or what the Hub calls it")
        self.card = self._text(self.repo_id, self.local)
        if self.folder.remote:
            found.notes.append("the folder is on a store: `datasets` opens it when it is published, not before")
        else:
            about = ["opens", self.schemas["metadata"].to_string(), [f["sha256"] for f in self.files]]
            shards.remembered(self.folder, about, self._opens)

    def _text(self, repo_id: str, before: str) -> str:
        """The card as it is published."""
        keys = card.keys(repo_id, self.licence, self.facts)
        title = f"# {card.own_keys(before).get('pretty_name', keys['pretty_name'])}"
        given = {"license": self.licence, "license_name": None} if self.licence else {}
        about = {"before": before, "keys": keys, "given": given, "title": title}
        files = [*self.files, *(f for f in self.ds.files if f["config"] == "index")]
        return card.write(self.ds.info, files, self.schemas, **about, facts={**self.facts, "repo": repo_id})

    def compare(self, repo: Repo | None) -> tuple[str, dict[str, tuple[str, int]]] | None:
        """The repository as it stands, and the card that goes with it."""
        there = None
        if repo and not self.found.problems:
            repo.check_rights()
            self.repo_id, there = repo.id, repo.look()
            theirs = repo.text("README.md", there[0]) if there and "README.md" in there[1] else ""
            others = {name for name in (there[1] if there else {}) if name not in (".gitattributes", "README.md")}
            if (theirs or others) and not card.is_ours(theirs):
                why = "is taken by something that imgprep did not publish, or its card has lost the marks of imgprep"
                raise ValueError(f"{repo.url} {why}: take another name, or put them back")
            if there and repo.is_public():
                self.found.notes.append(f"{repo.url} is public")
            self.card = self._text(repo.id, card.latest(self.local, theirs, (self.folder.get(CARD) or b"").decode()))
        for what, pattern in checks.PATTERNS.items():
            if hit := re.search(pattern, self.card):
                # Where it stands, not what it is: this is printed, and stays in notebooks.
                line = self.card.count("\n", 0, hit.end()) + 1
                self.found.problems.append(f"the card holds {what} in line {line}, {hit[0].strip()[:4]}…: take it out")
        return there

    def _opens(self) -> bool:
        """ValueError unless a folder that looks like the repository opens, streaming and not, with every row."""
        with tempfile.TemporaryDirectory(prefix="imgprep-tree-") as tree:
            Folder(tree).put("README.md", self.card.encode())
            for f in self.files:
                os.makedirs(os.path.dirname(os.path.join(tree, f["file"])), exist_ok=True)
                os.symlink(self.folder.full(f["at"]), os.path.join(tree, f["file"]))
            if trouble := checks.check_loaded(load_back(tree), self.files):
                raise ValueError(trouble)
        return True

    def wanted(self) -> list[File]:
        data = self.card.encode()
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # how git names a small file
        files = [File("README.md", blob, len(data), lambda: contextlib.nullcontext(data))]
        for f in [*self.files, self.sample]:
            files.append(File(f["file"], f["sha256"], f["bytes"], lambda at=f["at"]: _on_disk(self.folder, at)))
        return files

    def publication(self, repo: Repo | None, there: tuple | None) -> Publication:
        known, wanted = there[1] if there else {}, self.wanted() if self.files else []
        new = [f for f in wanted if known.get(f.name) != (f.sha256, f.bytes)]
        names = {f.name: f for f in wanted}
        return Publication(
            folder=self.ds.folder,
            repo=self.repo_id,
            card=self.card,
            added=[f.name for f in new],
            removed=sorted(n for n in known if n not in names and stage.OURS.fullmatch(n)),
            unchanged=[n for n in names if n not in {f.name for f in new}],
            nbytes=sum(f.bytes for f in new),
            problems=self.found.problems,
            notes=self.found.notes,
            url=repo.url if repo else "",
        )

    def send(self, repo: Repo, there: tuple | None, result: Publication, *, private: bool, tag: str | None) -> None:
        head, _ = there or repo.create(private=private)
        tags = repo.tags() if tag else {}
        if tag in tags and (result.added or result.removed or tags[tag] != head):
            raise ValueError(f"{repo.url} has a tag {tag!r} already, of commit {tags[tag][:12]}: take another")
        if result.added or result.removed:
            files = [f for f in self.wanted() if f.name in set(result.added)]
            digest = hashing.digest([(f.name, f.sha256) for f in self.wanted()])[:12]
            head = repo.send(files, result.removed, head=head, message=f"Publish with imgprep ({digest})")
            result.loaded = self._loaded_back(repo, head)
        else:
            result.loaded = "nothing to send: it is there already"
        self.folder.put(CARD, self.card.encode())
        self.folder.put("README.md", card.adopt(self.local, self.card).encode())
        if tag and tag not in tags:
            repo.tag(tag, head)
        result.commit, result.tag, result.url = head, tag, repo.url
        shards.sweep(self.folder, [f["at"] for f in self.files])

    def _loaded_back(self, repo: Repo, head: str) -> str:
        """Compare checksums, and load it as a reader would."""
        there = repo.look(head)[1]
        wrong = [f.name for f in self.wanted() if there.get(f.name) != (f.sha256, f.bytes)]
        if wrong:
            raise RunStopped(f"{wrong[0]} on {repo.url} is not what was sent: run it again")
        found = load_back(repo.id, head, most_bytes=LOADED_BYTES, token=repo.token)
        if trouble := checks.check_loaded(found, self.files):
            raise RunStopped(f"{repo.url} does not load back: {trouble}")
        rows = sum(n["streamed"] for splits in found.values() for n in splits.values())
        whole = all(n["loaded"] is not None for splits in found.values() for n in splits.values())
        return f"{rows:,} rows loaded back, {'streaming and not' if whole else 'streaming, small configs also not'}"


@contextlib.contextmanager
def _on_disk(folder: Folder, name: str) -> Iterator[str]:
    """The path of a file of the folder; of a store's, of a copy."""
    if not folder.remote:
        yield folder.full(name)
        return
    with tempfile.NamedTemporaryFile(prefix="imgprep-") as copy, folder.open(name) as source:
        shutil.copyfileobj(source, copy, 8 << 20)
        copy.flush()
        yield copy.name


def _log(ds: Dataset, result: Publication, seconds: float) -> None:
    """A run's log, so that the report can link to what was published."""
    now = datetime.now(UTC)
    record: dict[str, Any] = {"started": now.isoformat(timespec="seconds"), "seconds": round(seconds, 2)}
    record |= {"stage": "publish", "engine": "none", "workers": 0, "attempts": 0, "reasons": {}, "computed": 0}
    record |= {"rows": ds.counts()["rows"], "reused": ds.counts()["rows"], "bytes": result.nbytes}
    record |= {"repo": result.repo, "url": result.url, "commit": result.commit, "tag": result.tag}
    name = f"{PRIVATE}/runs/{now:%Y%m%dT%H%M%S%f}-{os.getpid()}.json"
    Folder(ds.folder).put(name, json.dumps(record, indent=1).encode())
