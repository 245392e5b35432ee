"""One dataset repository: who may write there, and what stands in it."""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import huggingface_hub as hf

from imgprep.failures import RunStopped
from imgprep.io.hub import faults, sending
from imgprep.io.hub.sending import File, There

ATTEMPTS = 3
PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
# Blocks of 64 MB are in memory while they are sent: by default as many as a fast line can take.
XET = {
    "HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "2",
    "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "1",
}


class Repo:
    """A dataset repository, by "owner/name" or "name" (then it is one's own).

    Nothing is asked until a method is.
    """

    def __init__(self, repo_id: str, token_env: str | None = "HF_TOKEN"):
        # None is "no variable": then the saved login is used.
        token = os.environ.get(token_env or "") or None
        if token_env not in (None, "HF_TOKEN") and not token:
            what = f"the environment variable {token_env}, which should hold the token"
            raise ValueError(f"{what}, is not set")
        self.token = token or hf.get_token() or ""
        if not self.token:
            fix = "set HF_TOKEN, or log in once with `hf auth login`"
            raise ValueError(f"there is no token for the Hub: {fix}")
        self.id = repo_id
        self.user = ""
        self.api = hf.HfApi(token=self.token)
        for name, value in XET.items():
            # setdefault: who has set them by hand knows the line.
            os.environ.setdefault(name, value)
        hf.utils.disable_progress_bars()
        hf.utils.logging.set_verbosity_error()  # what goes wrong is said by us, once

    @property
    def endpoint(self) -> str:
        return self.api.endpoint

    @property
    def url(self) -> str:
        return f"{self.endpoint}/datasets/{self.id}"

    def check_rights(self) -> None:
        """ValueError unless the token is valid and may write to this repository."""
        who = self.ask(self.api.whoami, cache=True)
        self.user = who["name"]
        owners = [self.user, *(org["name"] for org in who.get("orgs", []))]
        if "/" not in self.id:
            self.id = f"{self.user}/{self.id}"
        owner = self.id.split("/")[0]
        access = who.get("auth", {}).get("accessToken", {})
        if access.get("role") == "read":
            what = f"the token of {self.user} may only read"
            raise ValueError(f"{what}: make one that may write to {owner}")
        if owner not in owners:
            own = " or ".join(owners)
            raise ValueError(f"{self.user} cannot write to {owner}: name it {own}/…")
        if access.get("role") == "fineGrained" and not _writable(access) & {owner, self.id}:
            what = f"the token of {self.user} may not write to {self.id}"
            raise ValueError(f"{what}: give it write access there")

    def look(self, revision: str = "main") -> There | None:
        """(commit, {file: (sha256 or git hash, bytes)}), or None: there is no such repository."""
        with contextlib.suppress(faults.NoRepository):
            # The commit's own name, not "main": both questions must be about one version.
            head = self.ask(self.api.dataset_info, self.id, revision=revision).sha
            where = {"repo_type": "dataset", "revision": head, "recursive": True}
            # The tree is asked for page by page, so it is read inside the call that is repeated.
            tree = self.ask(lambda: list(self.api.list_repo_tree(self.id, **where)))
            found: dict[str, tuple[str, int]] = {}
            for file in tree:
                if isinstance(file, hf.hf_api.RepoFile):
                    mark = file.lfs.sha256 if file.lfs else file.blob_id
                    found[file.path] = (mark, file.size)
            return head, found
        return None

    def there(self, revision: str = "main") -> There:
        """`look` at what must be there."""
        found = self.look(revision)
        if found is None:
            raise ValueError(f"{self.id} is not on the Hub any more: run it again to make it anew")
        return found

    def is_public(self) -> bool:
        return not self.ask(self.api.dataset_info, self.id).private

    def text(self, name: str, revision: str) -> str:
        """A small file of the repository."""
        with hf.utils.SoftTemporaryDirectory() as folder:
            where = {"repo_type": "dataset", "revision": revision, "local_dir": folder}
            path = self.ask(self.api.hf_hub_download, self.id, name, **where)
            with open(path, encoding="utf-8") as file:
                return file.read()

    def tags(self) -> dict[str, str]:
        refs = self.ask(self.api.list_repo_refs, self.id, repo_type="dataset")
        return {tag.name: tag.target_commit for tag in refs.tags}

    def create(self, *, private: bool) -> There:
        """Make the repository; what stands in it."""
        how = {"repo_type": "dataset", "private": private, "exist_ok": True}
        self.ask(self.api.create_repo, self.id, **how)
        found = self.look()
        if found is None:
            what = f"the Hub does not show {self.id} to this token"
            raise ValueError(f"{what}: give it read access there, too")
        return found

    def tag(self, name: str, commit: str) -> None:
        how = {"repo_type": "dataset", "revision": commit, "exist_ok": True}
        self.ask(self.api.create_tag, self.id, tag=name, **how)

    def send(self, files: list[File], stale: list[str], *, head: str, message: str) -> str:
        """Put files in and take the stale ones out, in one visible step from commit `head`."""
        return sending.send(self, files, stale, head, message)

    def ask(self, call: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call, again where trying again makes sense; what goes wrong becomes a sentence."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call(*args, **kwargs)
            except (RunStopped, faults.NoRepository):
                raise
            except Exception as e:
                if attempt == ATTEMPTS or not faults.may_pass_again(e):
                    raise faults.hub_sentence(self, e) from None
                pause_s = faults.wait_s(e) or PAUSE_S * 4 ** (attempt - 1)
                time.sleep(min(pause_s, LONGEST_PAUSE_S))
        raise AssertionError("unreachable")


def _writable(access: dict[str, Any]) -> set[str]:
    """To which owners and repositories a fine-grained token may write."""
    scopes = access.get("fineGrained", {}).get("scoped", [])
    return {s["entity"]["name"] for s in scopes if "repo.write" in s["permissions"]}
