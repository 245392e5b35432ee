"""What is to stand in the repository: files, card, sample."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from imgprep.dataset import Dataset, card
from imgprep.dataset.files import Folder
from imgprep.dataset.whole import OURS
from imgprep.io.hub import File, Repo
from imgprep.stages.publish import checks, facts, metadata, shards, sheet
from imgprep.stages.publish.loaded import load_back
from imgprep.stages.publish.publication import Publication
from imgprep.stages.publish.rewriting import Rules, prepare_shards

SeenFiles = tuple[str, dict[str, tuple[str, int]]]  # commit; file -> (sha256 or git hash, bytes)
ON_A_STORE = "the folder is on a store: `datasets` opens it when it is published, not before"
NO_LICENCE = "nobody said under which licence: give licence='cc-by-4.0', or what the Hub calls it"


@dataclass
class PublishPlan:
    """What would be published, as long as `found` has no problems.

    local: the card of the folder. repo_id, card: of the repository, when it is known.
    files: entries of a manifest with `at`, where in the folder the bytes are.
    schemas: of each config. sample: the picture for the card.
    """

    ds: Dataset
    found: checks.Findings
    licence: str | None
    local: str
    repo_id: str
    card: str = ""
    files: list[dict] = field(default_factory=list)
    schemas: dict[str, pa.Schema] = field(default_factory=dict)
    sample: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        ds: Dataset,
        rules: Rules,
        found: checks.Findings,
        licence: str | None,
    ) -> "PublishPlan":
        """Write what is written anew, count what the card says, and see that `datasets` opens
        it."""
        folder = Folder(ds.folder)
        local = (folder.get("README.md") or b"").decode("utf-8", "replace")
        plan = PublishPlan(ds, found, licence, local, f"you/{os.path.basename(ds.folder)}")
        if found.problems:
            return plan
        files, schemas = prepare_shards(ds, rules, found.dirty)
        books, schema = metadata.prepare_metadata(ds, files, schemas)
        plan.files = files + books
        plan.schemas = {**schemas, "metadata": schema}
        plan.sample = sheet.prepare_sheet(ds, plan.files)
        plan.facts = facts.count_facts(ds, plan.files, plan.schemas, rules, found)
        if not (licence or card.own_keys(local).get("license") or plan.facts["licence_column"]):
            found.problems.append(NO_LICENCE)
        plan.card = plan.text(local)
        if folder.remote:
            found.notes.append(ON_A_STORE)
        else:
            hashes = [f["sha256"] for f in plan.files]
            about = ["opens", schema.to_string(), hashes]
            shards.remembered(folder, about, plan.opens)
        return plan

    @property
    def folder(self) -> Folder:
        return Folder(self.ds.folder)

    def text(self, before: str) -> str:
        """The card as it is published. before: the one that has what a person wrote."""
        keys = card.keys(self.repo_id, self.licence, self.facts)
        name = card.own_keys(before).get("pretty_name", keys["pretty_name"])
        # None takes the key away: a name beside an id would contradict it.
        given = {"license": self.licence, "license_name": None} if self.licence else {}
        books = [f for f in self.ds.files if f["config"] == "index"]
        return card.write(
            self.ds.info,
            [*self.files, *books],
            self.schemas,
            before=before,
            keys=keys,
            given=given,
            title=f"# {name}",
            facts={**self.facts, "repo": self.repo_id},
        )

    def opens(self) -> bool:
        """ValueError unless a folder that looks like the repository opens, streaming and not, with
        every row."""
        with tempfile.TemporaryDirectory(prefix="imgprep-tree-") as tree:
            Folder(tree).put("README.md", self.card.encode())
            for file in self.files:
                link = os.path.join(tree, file["file"])
                os.makedirs(os.path.dirname(link), exist_ok=True)
                # Links: a dataset of gigabytes is not copied to see whether it opens.
                os.symlink(self.folder.full(file["at"]), link)
            if trouble := checks.check_loaded(load_back(tree), self.files):
                raise ValueError(trouble)
        return True

    def wanted(self) -> list[File]:
        """All that is to stand there; nothing where it must not be published."""
        if not self.files:
            return []
        data = self.card.encode()
        # As git names a small file.
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        files = [File("README.md", blob, len(data), lambda: contextlib.nullcontext(data))]
        for entry in [*self.files, self.sample]:
            read = _OnDisk(self.folder, entry["at"])
            files.append(File(entry["file"], entry["sha256"], entry["bytes"], read))
        return files

    def publication(self, repo: Repo | None, there: SeenFiles | None) -> Publication:
        """What would change in a repository that is as `there`."""
        known = there[1] if there else {}
        wanted = self.wanted()
        names = {f.name for f in wanted}
        # By hash and size, as the Hub lists them: what is there is not sent again.
        new = [f for f in wanted if known.get(f.name) != (f.sha256, f.bytes)]
        added = [f.name for f in new]
        return Publication(
            folder=self.ds.folder,
            repo=self.repo_id,
            card=self.card,
            added=added,
            # Only what has a name of ours: whatever else stands in the repository is somebody's.
            removed=sorted(n for n in known if n not in names and OURS.fullmatch(n)),
            unchanged=[f.name for f in wanted if f.name not in {*added}],
            nbytes=sum(f.bytes for f in new),
            problems=self.found.problems,
            notes=self.found.notes,
            url=repo.url if repo else "",
        )


@dataclass(frozen=True)
class _OnDisk:
    """Opens a file of the folder by its path; one of a store by that of a copy."""

    folder: Folder
    name: str

    @contextlib.contextmanager
    def __call__(self) -> Iterator[str]:
        if not self.folder.remote:
            yield self.folder.full(self.name)
            return
        source = self.folder.open(self.name)
        assert not isinstance(source, str)  # of a store it is a file
        with tempfile.NamedTemporaryFile(prefix="imgprep-") as copy, source:
            shutil.copyfileobj(source, copy, 8 << 20)
            copy.flush()
            yield copy.name
