"""A container of an object store: put, get, find, list, sign."""

import contextlib
import functools
import hashlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import obstore
from obstore import exceptions

from imgprep.io.stores import kinds
from imgprep.io.stores.faults import DENIED, MISSING, StoreError, told
from imgprep.words import extra

FOREVER = "private, max-age=31536000, immutable"  # what lies under the name of its content stays
CHECKED = "private, no-cache"
WEEK_S = 604_800
# Azure refuses what obstore signs for other letters.
ODD_NAME = re.compile(r"[^\w./+=,&~-]|//|/\.\.?(/|$)", re.ASCII)
HALF = re.compile(r"#\d+$")  # as obstore names what it is about to put into a folder
HALF_S = 3600  # younger ones may be another run's
OTHER_NAMES = {"s3a": "s3", "gcs": "gs", "": "file"}
OUR_NAMES = ("file", "memory")  # this machine's own: nobody else can read there


class Store:
    """A container (bucket, folder) and a prefix in it. Pickles as its URI.

    Each process makes its own client.
    credentials_env: the NAME of a variable that holds a connection string (az), KEY_ID:SECRET (s3)
    or the path of a service account's file (gs). Without it the usual variables are read, then the
    machine's own identity is used.
    ValueError for a name that the service refuses; the methods raise StoreError, or RunStopped
    where nothing answers.
    """

    def __init__(self, uri: str, credentials_env: str | None = None):
        self.kind, self.container, self.prefix = _parts(str(uri))
        self.uri = "/".join(filter(None, [self.container, self.prefix]))
        if self.kind != "file":
            self.uri = f"{self.kind}://{self.uri}"
        known = kinds.KINDS.get(self.kind)
        if known and not _is_name(self.container, known.name):
            what = f"{self.container!r} is no name for a container or bucket"
            raise ValueError(f"{what}: use 3 to 63 {known.allowed}")
        # Not named here: it may be the secret itself.
        if credentials_env and not os.environ.get(credentials_env):
            what = "credentials_env names an environment variable"
            raise ValueError(f"{what}, and there is none of that name")
        self.credentials_env = credentials_env
        self.variable = credentials_env or (known.variable if known else "")
        self._finds = False

    def __reduce__(self) -> tuple:
        return Store, (self.uri, self.credentials_env)

    @told
    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str,
        sha256: str = "",
        is_lasting: bool = True,
    ) -> tuple[str, str]:
        """Store bytes unless they are there already: ("uploaded" or "present", ETag).

        Other bytes are replaced. With them go their type, `sha256` as metadata and FOREVER, unless
        is_lasting is False: then others may come under this name. A local folder keeps none of
        these.
        """
        sha256 = sha256 or hashlib.sha256(data).hexdigest()
        cached = FOREVER if is_lasting else CHECKED
        about = {"Content-Type": content_type, "Cache-Control": cached, "sha256": sha256}
        # Where one was there the next may be: a look sends no bytes.
        known = self.find(name) if self._finds else None
        if known is None:
            # The latter: AWS_CONDITIONAL_PUT=disabled.
            with contextlib.suppress(exceptions.AlreadyExistsError, NotImplementedError):
                self._finds = False
                return "uploaded", self._write(name, data, about, "create")
            self._finds = True
            known = self.find(name) or {"sha256": "-", "etag": ""}
        there = known["sha256"] or hashlib.sha256(self.get(name)).hexdigest()
        if there == sha256:
            return "present", known["etag"]
        return "uploaded", self._write(name, data, about, "overwrite")

    def _write(self, name: str, data: bytes, about: dict[str, str], mode: Any) -> str:
        attributes: Any = None if self.kind == "file" else about
        how = {"mode": mode, "attributes": attributes, "use_multipart": False}
        return self._etag(obstore.put(self._client, self._path(name), data, **how))

    @told
    def get(self, name: str) -> bytes:
        """The bytes of an object."""
        return bytes(obstore.get(self._client, self._path(name)).bytes())

    @told
    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Some of the bytes of an object: from `start` to before `stop`, at least one."""
        return bytes(obstore.get_range(self._client, self._path(name), start=start, end=stop))

    @told
    def find(self, name: str) -> dict[str, Any] | None:
        """An object's `nbytes`, `etag`, `sha256` ("" where unknown), other metadata; or None."""
        try:
            found = obstore.get(self._client, self._path(name), options={"head": True})
        except FileNotFoundError:
            return None
        about = {"nbytes": found.meta["size"], "etag": self._etag(found.meta)}
        return {"sha256": "", **found.attributes, **about}

    def exists(self, name: str) -> bool:
        return self.find(name) is not None

    @told
    def delete(self, name: str) -> None:
        obstore.delete(self._client, self._path(name))

    @told
    def sign(self, names: Sequence[str], *, expires_s: int = 3600) -> list[str]:
        """For each object a URL with which anyone may read it for so long, a week at most.

        It does nothing else.
        """
        if not 0 < expires_s <= WEEK_S:
            raise ValueError(f"expires_s is 1 to {WEEK_S:,} seconds (a week), not {expires_s!r}")
        if self.kind in OUR_NAMES:
            raise ValueError(f"{self.uri} has no URLs to sign: send the pictures themselves")
        paths = [self._path(name) for name in names]
        return list(obstore.sign(self._client, "GET", paths, timedelta(seconds=expires_s)))

    @told
    def ready(self) -> None:
        """Before any work: are the credentials right and the container private?

        One that is missing is created so. Credentials that may write but not list pass.
        """
        if self.kind == "file":
            sweep_halves(self.container)
        if self.kind in OUR_NAMES:
            return
        try:
            pages = obstore.list(self._asking, self._path("") or None, chunk_size=1)
            first = next(iter(pages), None)
            self.refuse_public(self._name(first[0]["path"]) if first else "-")
        except exceptions.BaseError as e:
            if re.search(MISSING, str(e)):
                create_missing(self.kind, self.container, self._secret, self._client)
            elif not re.search(DENIED, str(e)):
                raise

    @told
    def answers(self) -> None:
        """RunStopped, within half a minute, where nothing answers at all."""
        if self.kind in OUR_NAMES:
            return
        with contextlib.suppress(FileNotFoundError):
            obstore.head(self._asking, self._path("-"))

    @told
    def is_public(self, name: str) -> bool:
        """Does a plain GET of an object, without credentials, get it?"""
        if self.kind in OUR_NAMES:
            return False
        try:
            urllib.request.urlopen(self._plain_url(name), timeout=15).close()
            return True
        except urllib.error.HTTPError as e:
            # Only who may read a container of Azure's is told that something is not in it.
            return e.headers.get("x-ms-error-code") == "BlobNotFound"

    def _plain_url(self, name: str) -> str:
        if self.kind != "az":
            return self.sign([name])[0].partition("?")[0]
        # A shared access signature cannot sign; an address of Azure's is known without.
        endpoint = kinds.credentials("az", self._secret)["endpoint"]
        return f"{endpoint}/{self.container}/{quote(self._path(name))}"

    def refuse_public(self, name: str) -> None:
        """StoreError when anyone can read this object."""
        if self.is_public(name):
            fix = "take its public access away, or name another container"
            raise StoreError(f"anyone can read {self.uri}: {fix}")

    @functools.cached_property
    def _client(self) -> Any:
        return kinds.open_client(self.kind, self.container, self._secret)

    @functools.cached_property
    def _asking(self) -> Any:
        return kinds.open_client(self.kind, self.container, self._secret, is_asking=True)

    @property
    def _secret(self) -> str:
        usual = kinds.AZURE if self.kind == "az" else ""
        return kinds.spelled_out(os.environ.get(self.credentials_env or usual, ""))

    def _etag(self, meta: Any) -> str:
        if self.kind == "file":  # a disk's would name its blocks
            return ""
        return (meta["e_tag"] or "").strip('"')

    def _path(self, name: str) -> str:
        return "/".join(filter(None, [self.prefix, name]))

    def _name(self, path: str) -> str:
        return path.removeprefix(self.prefix).lstrip("/")

    @told
    def list(self, prefix: str = "") -> list[str]:
        """The names below a prefix of whole segments: "a/b" does not find "a/bc/1.jpg"."""
        pages = obstore.list(self._client, self._path(prefix) or None)
        return [self._name(found["path"]) for page in pages for found in page]


def _parts(uri: str) -> tuple[str, str, str]:
    """(kind, container, prefix). ValueError for what is no store, or has a key in it."""
    scheme, _, rest = uri.rpartition("://")
    kind = OTHER_NAMES.get(scheme, scheme)
    if kind == "file":
        return kind, os.path.abspath(os.path.expanduser(rest)), ""
    if kind not in (*kinds.KINDS, "memory") or ODD_NAME.search(rest):
        what = "a store is az://container/prefix, s3://bucket/prefix, gs://bucket/prefix or"
        raise ValueError(f"{what} a folder, in plain letters, without a key or a signature in it")
    container, _, prefix = rest.rstrip("/").partition("/")
    return kind, container, prefix


def sweep_halves(folder: str) -> None:
    """Remove what killed puts have left of objects in a folder: NAME#1, which is never listed."""
    long_ago = time.time() - HALF_S
    for path in Path(folder).rglob("*#*"):
        with contextlib.suppress(OSError):  # another run sweeps, too
            is_half = HALF.search(path.name) and path.is_file() and not path.is_symlink()
            if is_half and path.stat().st_mtime < long_ago:
                path.unlink()


def create_missing(kind: str, container: str, secret: str, client: Any) -> None:
    """Make a container, private. StoreError where that cannot be done from here."""
    why = "make it, without public access"
    try:
        kinds.create_container(kind, container, secret)
    except ImportError:
        why = f"it needs `{extra(kinds.KINDS[kind].extra)}`"
    except Exception:  # every service has errors of its own, and adlfs only warns
        pass  # another run may just have made it, so we look again
    try:
        next(iter(obstore.list(client)), None)
    except exceptions.BaseError:
        missing = f"there is no {kind}://{container}"
        raise StoreError(f"{missing}, and it cannot be created from here: {why}") from None


def _is_name(container: str, pattern: str) -> bool:
    return 3 <= len(container) <= 63 and re.fullmatch(pattern, container) is not None
