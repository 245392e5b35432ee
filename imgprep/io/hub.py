"""A dataset repository on the Hugging Face Hub: who may write there, what stands in it, commits that are whole or not
at all. Every failure is one sentence: ValueError for what the user can mend, RunStopped for what time or the Hub mends.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import huggingface_hub as hf
from huggingface_hub import errors

from imgprep.failures import RunStopped
from imgprep.io.web.addresses import redact
from imgprep.words import say

FEW = 100  # files of one commit: the Hub gives up on one after a minute
BATCH_BYTES = 2 << 30  # sent at once; what is sent in one go is known to have arrived
ATTEMPTS = 3
PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
# Blocks of 64 MB are in memory while they are sent: by default as many as a fast line can take.
XET = {"HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "2", "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "1"}
PASSING = {408, 429, 500, 502, 503, 504}
AGAIN = "run it again: what has arrived is not sent twice"


@dataclass(frozen=True)
class File:
    """One file to publish. `read` opens it for the time of a `with`: bytes, or the path of a file on this machine."""

    name: str
    sha256: str
    bytes: int
    read: Callable[[], contextlib.AbstractContextManager]


class Repo:
    """A dataset repository, by "owner/name" or "name" (then it is one's own). Nothing is asked until a method is."""

    def __init__(self, repo_id: str, token_env: str | None = "HF_TOKEN"):
        token = os.environ.get(token_env or "") or None
        if token_env not in (None, "HF_TOKEN") and not token:
            raise ValueError(f"the environment variable {token_env}, which should hold the token, is not set")
        self.token = token or hf.get_token() or ""
        if not self.token:
            raise ValueError("there is no token for the Hub: set HF_TOKEN, or log in once with `hf auth login`")
        self.id, self._api, self.user = repo_id, hf.HfApi(token=self.token), ""
        for name, value in XET.items():
            os.environ.setdefault(name, value)
        hf.utils.disable_progress_bars()
        hf.utils.logging.set_verbosity_error()  # what goes wrong is said by us, once

    @property
    def url(self) -> str:
        return f"{self._api.endpoint}/datasets/{self.id}"

    def check_rights(self) -> None:
        """ValueError unless the token is valid and may write to this repository."""
        who = self._ask(self._api.whoami, cache=True)
        self.user, orgs = who["name"], [org["name"] for org in who.get("orgs", [])]
        if "/" not in self.id:
            self.id = f"{self.user}/{self.id}"
        access = who.get("auth", {}).get("accessToken", {})
        owner = self.id.split("/")[0]
        if access.get("role") == "read":
            raise ValueError(f"the token of {self.user} may only read: make one that may write to {owner}")
        if owner not in (self.user, *orgs):
            raise ValueError(f"{self.user} cannot write to {owner}: name it {' or '.join([self.user, *orgs])}/…")
        scopes = access.get("fineGrained", {}).get("scoped", [])
        writable = {s["entity"]["name"] for s in scopes if "repo.write" in s["permissions"]}
        if access.get("role") == "fineGrained" and not writable & {owner, self.id}:
            raise ValueError(f"the token of {self.user} may not write to {self.id}: give it write access there")

    def look(self, revision: str = "main") -> tuple[str, dict[str, tuple[str, int]]] | None:
        """(commit, {file: (sha256 or git hash, bytes)}), or None where there is no such repository."""
        with contextlib.suppress(_Missing):
            head = self._ask(self._api.dataset_info, self.id, revision=revision).sha
            tree = self._ask(
                lambda: list(self._api.list_repo_tree(self.id, repo_type="dataset", revision=head, recursive=True))
            )
            files = [f for f in tree if isinstance(f, hf.hf_api.RepoFile)]
            return head, {f.path: (f.lfs.sha256 if f.lfs else f.blob_id, f.size) for f in files}
        return None

    def is_public(self) -> bool:
        return not self._ask(self._api.dataset_info, self.id).private

    def text(self, name: str, revision: str) -> str:
        """A small file of the repository."""
        with hf.utils.SoftTemporaryDirectory() as folder:
            where = {"repo_type": "dataset", "revision": revision, "local_dir": folder}
            path = self._ask(self._api.hf_hub_download, self.id, name, **where)
            with open(path, encoding="utf-8") as file:
                return file.read()

    def tags(self) -> dict[str, str]:
        refs = self._ask(self._api.list_repo_refs, self.id, repo_type="dataset")
        return {tag.name: tag.target_commit for tag in refs.tags}

    def create(self, *, private: bool) -> tuple[str, dict[str, tuple[str, int]]]:
        """Make the repository; what stands in it."""
        self._ask(self._api.create_repo, self.id, repo_type="dataset", private=private, exist_ok=True)
        if (there := self.look()) is None:
            raise ValueError(f"the Hub does not show {self.id} to this token: give it read access there, too")
        return there

    def tag(self, name: str, commit: str) -> None:
        self._ask(self._api.create_tag, self.id, tag=name, revision=commit, repo_type="dataset", exist_ok=True)

    def send(self, files: list[File], stale: list[str], *, head: str, message: str) -> str:
        """Put these files in and take the stale ones out, in one visible step from commit `head`."""
        deletions = [hf.CommitOperationDelete(name) for name in stale]
        if len(files) <= FEW:
            operations = [o for batch in _batches(files) for o in self._upload(batch, "main")]
            return self._commit([*operations, *deletions], "main", head, message)
        number, revision = self._pull_request(head, message)
        at, there = self.look(revision)
        missing = [f for f in files if (f.sha256, f.bytes) != there.get(f.name)]
        for batch in _batches(missing):
            at = self._commit(self._upload(batch, revision), revision, at, message)
        gone = [d for d in deletions if d.path_in_repo in there]
        at = self._commit(gone, revision, at, message) if gone else at
        there = self.look(revision)[1]
        if any((f.sha256, f.bytes) != there.get(f.name) for f in files):
            raise RunStopped(f"what stands in {self.url}/discussions/{number} is not what was sent: {AGAIN}")
        if self.look()[0] != head:
            raise _stale(self)
        with contextlib.suppress(ValueError, RunStopped):  # it is a draft, where the Hub has drafts
            self._ask(self._api.change_discussion_status, self.id, number, "open", repo_type="dataset")

        def merge() -> None:
            if self.look()[0] == head:  # else the answer was lost, and it was a yes
                self._api.merge_pull_request(self.id, number, repo_type="dataset")

        self._ask(merge)
        return self.look()[0]

    def _pull_request(self, head: str, message: str) -> tuple[int, str]:
        """Number and revision of the one that a killed run began on this commit, or of a new one."""
        mine = {"discussion_type": "pull_request", "repo_type": "dataset", "author": self.user}
        for one in self._ask(lambda: list(self._api.get_repo_discussions(self.id, **mine))):
            if one.title == message and one.status in ("draft", "open"):
                revision = f"refs/pr/{one.num}"
                commits = self._ask(self._api.list_repo_commits, self.id, repo_type="dataset", revision=revision)
                if head in [c.commit_id for c in commits]:
                    return one.num, revision
                self._ask(self._api.change_discussion_status, self.id, one.num, "closed", repo_type="dataset")
        made = self._ask(self._api.create_pull_request, self.id, message, repo_type="dataset")
        return made.num, f"refs/pr/{made.num}"

    def _upload(self, files: list[File], revision: str) -> list[hf.CommitOperationAdd]:
        """Send the contents; nobody sees them before a commit names them."""
        with contextlib.ExitStack() as open_files:
            operations = []
            for file in files:
                operation = hf.CommitOperationAdd(file.name, open_files.enter_context(file.read()))
                if file.name.endswith(".parquet") and operation.upload_info.sha256.hex() != file.sha256:
                    raise RunStopped(f"{file.name} is not as it was written: run the stage again, which makes it anew")
                operations.append(operation)
            where = {"repo_type": "dataset", "revision": revision}
            self._ask(self._api.preupload_lfs_files, self.id, operations, **where)
        say(f"sent {files[-1].name}" if len(files) == 1 else f"sent {len(files)} files up to {files[-1].name}")
        return operations

    def _commit(self, operations: list, revision: str, parent: str, message: str) -> str:
        before = self.look(revision)[0]
        if before != parent:
            raise _stale(self)

        def commit() -> str:
            # An answer that was lost may have been a yes.
            now = self.look(revision)
            if now[0] != parent and all(getattr(o, "_local_oid", None) == now[1].get(o.path_in_repo, (None,))[0]
                                        for o in operations):  # fmt: skip
                return now[0]
            where = {"repo_type": "dataset", "revision": revision, "parent_commit": parent}
            return self._api.create_commit(self.id, operations, commit_message=message, **where).oid

        return self._ask(commit)

    def _ask(self, call: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call, again where trying again makes sense; what goes wrong becomes a sentence."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call(*args, **kwargs)
            except (RunStopped, _Missing):
                raise
            except Exception as e:
                if attempt == ATTEMPTS or not _passes(e):
                    raise self._sentence(e) from None
                time.sleep(min(_wait(e) or PAUSE_S * 4 ** (attempt - 1), LONGEST_PAUSE_S))
        raise AssertionError("unreachable")

    def _sentence(self, e: Exception) -> Exception:
        status = getattr(getattr(e, "response", None), "status_code", None)
        said = redact(" ".join((getattr(e, "server_message", None) or str(e)).split()))[:300].replace(self.token, "***")
        if isinstance(e, errors.OfflineModeIsEnabled):
            return ValueError("HF_HUB_OFFLINE is set, so the Hub is not asked: unset it to publish")
        if isinstance(e, errors.GatedRepoError):
            return ValueError(f"{self.id} is gated and {self.user} has no access to it: ask for it at {self.url}")
        if isinstance(e, errors.RepositoryNotFoundError):
            return _Missing(f"there is no dataset {self.id} on the Hub, or this token may not see it")
        if status == 401:
            return ValueError("the Hub does not take the token: make a new one at its /settings/tokens")
        if status == 412:
            return _stale(self)
        if status in (402, 413) or status == 403 and ("storage" in said.lower() or "quota" in said.lower()):
            return RunStopped(f"there is no room left for {self.id} on the Hub ({said}): make room, then {AGAIN}")
        if status == 403:
            return ValueError(f"{self.user or 'this token'} may not write to {self.id}: {said}")
        if status == 429:
            return RunStopped(f"the Hub has had too many requests (429): wait a while, then {AGAIN}")
        if status and status >= 500:
            return RunStopped(f"the Hub has a fault of its own ({status}): wait a while, then {AGAIN}")
        if status:
            return ValueError(f"the Hub refuses {self.id} ({status}): {said}")
        if isinstance(e, ValueError):  # of our own making, such as a name that is none
            return ValueError(said)
        return RunStopped(f"the connection to {self._api.endpoint} failed ({type(e).__name__}: {said}): {AGAIN}")


class _Missing(ValueError):
    """There is no such repository."""


def _stale(repo: Repo) -> RunStopped:
    what = f"somebody else published to {repo.id} meanwhile and nothing was changed"
    return RunStopped(f"{what}: look at {repo.url}, then run it again")


def _passes(e: Exception) -> bool:
    status = getattr(getattr(e, "response", None), "status_code", None)
    if status is None:
        return not isinstance(e, ValueError | errors.OfflineModeIsEnabled)
    return status in PASSING


def _wait(e: Exception) -> float:
    response = getattr(e, "response", None)
    text = response.headers.get("Retry-After", "") if response is not None else ""
    return float(text) if text.isdecimal() else 0


def _batches(files: list[File]) -> Iterator[list[File]]:
    """At most FEW files and about BATCH_BYTES each."""
    batch: list[File] = []
    for file in files:
        if batch and (len(batch) >= FEW or sum(f.bytes for f in batch) + file.bytes > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch
