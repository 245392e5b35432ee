"""Files go into a repository in one visible step: a commit, or a pull request that is merged."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import huggingface_hub as hf

from imgprep.failures import RunStopped
from imgprep.io.hub import faults
from imgprep.words import say

if TYPE_CHECKING:
    from imgprep.io.hub.repo import Repo

FILES_OF_COMMIT = 100  # files of one commit: the Hub gives up on one after a minute
BATCH_BYTES = 2 << 30  # sent at once; what is sent in one go is known to have arrived

There = tuple[str, dict[str, tuple[str, int]]]  # commit, {file: (sha256 or git hash, bytes)}
Operations = list[Any]  # hf.CommitOperationAdd or hf.CommitOperationDelete


@dataclass(frozen=True)
class File:
    """One file to publish.

    read: opens it for the time of a `with`: bytes, or the path of a file on this machine.
    """

    name: str
    sha256: str
    bytes: int
    read: Callable[[], contextlib.AbstractContextManager]


def send(repo: "Repo", files: list[File], stale: list[str], head: str, message: str) -> str:
    """Put these files in and take the stale ones out; the new commit."""
    deletions: Operations = [hf.CommitOperationDelete(name) for name in stale]
    if len(files) > FILES_OF_COMMIT:
        return _send_many(repo, files, deletions, head, message)
    operations: Operations = []
    for batch in _file_batches(files):
        operations += _upload(repo, batch, "main")
    return _commit(repo, [*operations, *deletions], "main", head, message)


def _send_many(
    repo: "Repo", files: list[File], deletions: Operations, head: str, message: str
) -> str:
    """By a pull request of several commits: what is visible changes when it is merged."""
    number, revision = _pull_request(repo, head, message)
    at, there = repo.there(revision)
    # What a killed run has sent already stands in the pull request.
    missing = [f for f in files if (f.sha256, f.bytes) != there.get(f.name)]
    for batch in _file_batches(missing):
        at = _commit(repo, _upload(repo, batch, revision), revision, at, message)
    gone = [d for d in deletions if d.path_in_repo in there]
    if gone:
        _commit(repo, gone, revision, at, message)
    # Looked at before it is merged: after that it is what readers get.
    _, there = repo.there(revision)
    wrong = [f for f in files if (f.sha256, f.bytes) != there.get(f.name)]
    if wrong:
        what = f"what stands in {repo.url}/discussions/{number} is not what was sent"
        raise RunStopped(f"{what}: {faults.SEND_AGAIN}")
    if repo.there()[0] != head:
        raise faults.stale(repo)
    api = repo.api
    with contextlib.suppress(ValueError, RunStopped):  # it is a draft, where the Hub has drafts
        repo.ask(api.change_discussion_status, repo.id, number, "open", repo_type="dataset")

    def merge() -> None:
        if repo.there()[0] == head:  # else the answer was lost, and it was a yes
            api.merge_pull_request(repo.id, number, repo_type="dataset")

    repo.ask(merge)
    return repo.there()[0]


def _pull_request(repo: "Repo", head: str, message: str) -> tuple[int, str]:
    """Number and revision of the one that a killed run began on this commit, or of a new one."""
    api = repo.api
    mine: Any = {"discussion_type": "pull_request", "repo_type": "dataset", "author": repo.user}
    begun = repo.ask(lambda: list(api.get_repo_discussions(repo.id, **mine)))
    for one in begun:
        if one.title != message or one.status not in ("draft", "open"):
            continue
        revision = f"refs/pr/{one.num}"
        where = {"repo_type": "dataset", "revision": revision}
        commits = repo.ask(api.list_repo_commits, repo.id, **where)
        if head in [c.commit_id for c in commits]:
            return one.num, revision
        # Begun on an older commit: merged, it would undo what came since.
        repo.ask(api.change_discussion_status, repo.id, one.num, "closed", repo_type="dataset")
    made = repo.ask(api.create_pull_request, repo.id, message, repo_type="dataset")
    return made.num, f"refs/pr/{made.num}"


def _upload(repo: "Repo", files: list[File], revision: str) -> Operations:
    """Send the contents; nobody sees them before a commit names them."""
    operations: Operations = []
    with contextlib.ExitStack() as open_files:
        for file in files:
            body = open_files.enter_context(file.read())
            operation = hf.CommitOperationAdd(file.name, body)
            is_whole = operation.upload_info.sha256.hex() == file.sha256
            if file.name.endswith(".parquet") and not is_whole:
                what = f"{file.name} is not as it was written"
                raise RunStopped(f"{what}: run the stage again, which makes it anew")
            operations.append(operation)
        where = {"repo_type": "dataset", "revision": revision}
        repo.ask(repo.api.preupload_lfs_files, repo.id, operations, **where)
    last = files[-1].name
    say(f"sent {last}" if len(files) == 1 else f"sent {len(files)} files up to {last}")
    return operations


def _commit(repo: "Repo", operations: Operations, revision: str, parent: str, message: str) -> str:
    if repo.there(revision)[0] != parent:
        raise faults.stale(repo)
    where: Any = {"repo_type": "dataset", "revision": revision, "parent_commit": parent}

    def commit() -> str:
        now = repo.there(revision)
        # An answer that was lost may have been a yes.
        if now[0] != parent and _stand_in(operations, now):
            return now[0]
        done = repo.api.create_commit(repo.id, operations, commit_message=message, **where)
        return done.oid

    return repo.ask(commit)


def _stand_in(operations: Operations, there: There) -> bool:
    """Whether all that was to be done is done there."""
    for operation in operations:
        stands, _ = there[1].get(operation.path_in_repo, (None, 0))
        if getattr(operation, "_local_oid", None) != stands:
            return False
    return True


def _file_batches(files: list[File]) -> Iterator[list[File]]:
    """At most FILES_OF_COMMIT files and about BATCH_BYTES each."""
    batch: list[File] = []
    held = 0
    for file in files:
        if batch and (len(batch) >= FILES_OF_COMMIT or held + file.bytes > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(file)
        held += file.bytes
    if batch:
        yield batch
