"""Object stores by URI: az:// (Azure Blob), s3:// (and what speaks it), gs://, a local folder, memory://.

Credentials come from the environment, as each service's own tools read them, or from one variable that is named.
"""

import functools
import hashlib
import os
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import fsspec
import obstore
from obstore import exceptions
from obstore import store as clients

from imgprep.failures import RunStopped, Told

# What a service takes for a name beside 3 to 63 characters, the variables it reads, and the extra for fsspec.
AZURE, KEYS = "AZURE_STORAGE_CONNECTION_STRING", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
KINDS = {
    "az": (clients.AzureStore, r"[a-z0-9]+(-[a-z0-9]+)*", "lower-case letters, digits and single -", AZURE, "azure"),
    "s3": (clients.S3Store, r"(?!xn--|.*\.\.|[\d.]+$)[a-z0-9][a-z0-9.-]*[a-z0-9]", "lower-case letters, digits, ., -",
           KEYS, "s3"),
    "gs": (clients.GCSStore, r"(?!goog)[a-z0-9][a-z0-9._-]*[a-z0-9]", "lower-case letters, digits, ., -, _",
           "GOOGLE_APPLICATION_CREDENTIALS", "gcs"),
}  # fmt: skip
MISSING = "ContainerNotFound|NoSuchBucket"
DENIED = r"AccessDenied|AuthorizationPermission|AuthorizationResource|os error 13\b"
SAID = {  # what the services' errors mean, in the order in which they are looked for
    r"ExpiredToken|InvalidToken|specified time frame|token is expired":
        "what signs requests to {0} has expired: get a new one",
    r"Authenticat|AuthorizationFail|InvalidAccessKey|SignatureDoesNotMatch|Invalid Access|invalid_grant":
        "{0} refuses these credentials: check {1}",
    r"token request|api/token|169\.254\.169\.254|Account must be": "there are no credentials for {0}: set {1}",
    r"AuthorizationHeaderMalformed|PermanentRedirect": "{0} lies in another region: set AWS_REGION",
    MISSING: "there is no {0}: create it, without public access",
    "Object at location .* not found": "there is no such object in {0}",
    DENIED: "no permission in {0}: it takes the right to read, list and write",
    r"os error 28\b": "no space is left in {0}: free some and run it again",
    r"HTTP error: (?!builder)|status code: (5\d\d|429)|urlopen|Errno|timed out|Remote end":
        "{0} does not answer: run it again when it does",
}
FOREVER = "private, max-age=31536000, immutable"  # what lies under the name of its content never changes
# A network that is gone is told within a minute; a large picture on a slow line has its time.
CLIENT = {"connect_timeout": "10s", "timeout": "300s"}
RETRIES = {"max_retries": 6, "retry_timeout": timedelta(seconds=40)}


class StoreError(Told, ValueError):
    """A store that cannot be used like this: one sentence that says what to do."""


def _told(method: Callable) -> Callable:
    """A service's error as one sentence. Its own text may hold a signature: nothing of it is passed on."""

    @functools.wraps(method)
    def run(self: "Store", *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except (exceptions.BaseError, OSError) as e:  # of obstore, and of the GET without credentials
            text, kind = str(e), type(e).__name__
        said = next((s for pattern, s in SAID.items() if re.search(pattern, text)), "")
        if not said:
            code = re.search(r"<Code>(\w+)</Code>", text)
            said = "{0} does not do this: " + (code[1] if code else kind)
        raise (RunStopped if "answer" in said else StoreError)(said.format(self.uri, self.variable))

    return run


_memory = functools.cache(lambda container: clients.MemoryStore())


class Store:
    """A container (bucket, folder) and a prefix in it. Pickles as its URI; each process makes its own client.

    credentials_env: the NAME of a variable that holds a connection string (az), KEY_ID:SECRET (s3) or the path of a
    service account's file (gs). Without it the usual variables are read, then the machine's own identity is used.
    ValueError for a name that the service refuses; the methods raise StoreError, or RunStopped where nothing answers.
    """

    def __init__(self, uri: str, credentials_env: str | None = None):
        kind, colon, rest = str(uri).rpartition("://")
        self.kind = {"s3a": "s3", "gcs": "gs", "": "file"}.get(kind, kind)
        self.container, _, self.prefix = rest.rstrip("/").partition("/")
        if self.kind == "file":
            self.container, self.prefix = os.path.abspath(os.path.expanduser(rest)), ""
        elif self.kind not in (*KINDS, "memory") or re.search(r"[^\w./+=,&~-]|//|/\.\.?(/|$)", rest, re.ASCII):
            # Azure refuses what obstore signs for other letters.
            what = "a store is az://container/prefix, s3://bucket/prefix, gs://bucket/prefix or a folder"
            raise ValueError(f"{what}, in plain letters, without a key or a signature in it")
        self.uri = "/".join(filter(None, [self.container, self.prefix]))
        self.uri = self.uri if self.kind == "file" else f"{self.kind}://{self.uri}"
        _, pattern, allowed, self.variable, _ = KINDS.get(self.kind, ("", ".*", "", "", ""))
        if not re.fullmatch(pattern, self.container) or (allowed and not 3 <= len(self.container) <= 63):
            raise ValueError(f"{self.container!r} is no name for a container or bucket: use 3 to 63 {allowed}")
        if credentials_env and not os.environ.get(credentials_env):  # not named here: it may be the secret itself
            raise ValueError("credentials_env names an environment variable, and there is none of that name")
        self.credentials_env, self.variable = credentials_env, credentials_env or self.variable
        self._finds = False

    def __reduce__(self) -> tuple:
        return Store, (self.uri, self.credentials_env)

    @_told
    def put(self, name: str, data: bytes, *, content_type: str, sha256: str = "") -> tuple[str, str]:
        """Store bytes unless they are there already: ("uploaded" or "present", ETag). Other bytes are replaced.

        With them go their type, `sha256` as metadata and FOREVER; a local folder keeps none of these.
        """
        sha256 = sha256 or hashlib.sha256(data).hexdigest()
        about = {"Content-Type": content_type, "Cache-Control": FOREVER, "sha256": sha256}
        known = self.find(name) if self._finds else None  # where one was there the next may be: a look sends no bytes
        if known is None:
            try:
                self._finds, etag = False, self._write(name, data, about, "create")
                return "uploaded", etag
            except (exceptions.AlreadyExistsError, NotImplementedError):  # the latter: AWS_CONDITIONAL_PUT=disabled
                self._finds, known = True, self.find(name) or {"sha256": "-", "etag": ""}
        if sha256 == (known["sha256"] or hashlib.sha256(self.get(name)).hexdigest()):
            return "present", known["etag"]
        return "uploaded", self._write(name, data, about, "overwrite")

    def _write(self, name: str, data: bytes, about: dict[str, str], mode: Any) -> str:
        about = None if self.kind == "file" else about
        done = obstore.put(self._client, self._path(name), data, mode=mode, attributes=about, use_multipart=False)
        return self._etag(done)

    @_told
    def get(self, name: str) -> bytes:
        """The bytes of an object."""
        return bytes(obstore.get(self._client, self._path(name)).bytes())

    @_told
    def find(self, name: str) -> dict[str, Any] | None:
        """An object's `nbytes`, `etag`, `sha256` ("" where unknown) and other metadata, or None."""
        try:
            found = obstore.get(self._client, self._path(name), options={"head": True})
        except FileNotFoundError:
            return None
        return {"sha256": "", **found.attributes, "nbytes": found.meta["size"], "etag": self._etag(found.meta)}

    def exists(self, name: str) -> bool:
        return self.find(name) is not None

    @_told
    def list(self, prefix: str = "") -> list[str]:
        """The names below a prefix of whole segments: "a/b" does not find "a/bc/1.jpg"."""
        pages = obstore.list(self._client, self._path(prefix) or None)
        return [found["path"].removeprefix(self.prefix).lstrip("/") for page in pages for found in page]

    @_told
    def delete(self, name: str) -> None:
        obstore.delete(self._client, self._path(name))

    @_told
    def sign(self, names: Sequence[str], *, expires_s: int = 3600) -> "list[str]":
        """For each object a URL with which anyone may read it, and do nothing else, for so long (a week at most)."""
        if not 0 < expires_s <= 604_800:
            raise ValueError(f"expires_s is 1 to 604,800 seconds (a week), not {expires_s!r}")
        if self.kind in ("file", "memory"):
            raise ValueError(f"{self.uri} has no URLs to sign: send the pictures themselves")
        return obstore.sign(self._client, "GET", [self._path(n) for n in names], timedelta(seconds=expires_s))

    @_told
    def ready(self) -> None:
        """Before any work: are the credentials right and the container private? One that is missing is created so.

        Credentials that may write but not list pass.
        """
        if self.kind in ("file", "memory"):
            return
        try:
            first = next(iter(obstore.list(self._client, self._path("") or None, chunk_size=1)), None)
            self.refuse_public(first[0]["path"].removeprefix(self.prefix).lstrip("/") if first else "-")
        except exceptions.BaseError as e:
            if re.search(MISSING, str(e)):
                self._create()
            elif not re.search(DENIED, str(e)):
                raise

    @_told
    def is_public(self, name: str) -> bool:
        """Does a plain GET of an object, without credentials, get it?"""
        if self.kind in ("file", "memory"):
            return False
        # A shared access signature cannot sign; an address of Azure's is known without.
        url = f"{self._given['endpoint']}/{self.container}/{quote(self._path(name))}" if self.kind == "az" else ""
        try:
            urllib.request.urlopen(url or self.sign([name])[0].partition("?")[0], timeout=30).close()
            return True
        except urllib.error.HTTPError as e:
            # Only who may read a container of Azure's is told that something is not in it.
            return e.headers.get("x-ms-error-code") == "BlobNotFound"

    def refuse_public(self, name: str) -> None:
        """StoreError when anyone can read this object."""
        if self.is_public(name):
            raise StoreError(f"anyone can read {self.uri}: take its public access away, or name another container")

    @functools.cached_property
    def _client(self) -> Any:
        if self.kind == "memory":
            return _memory(self.container)
        if self.kind == "file":
            return clients.LocalStore(self.container, mkdir=True)
        endpoint = self._given.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL", "")
        options = {"client_options": {**CLIENT, "allow_http": endpoint.startswith("http://")}, "retry_config": RETRIES}
        return KINDS[self.kind][0](self.container, **options, **self._given)

    @property
    def _secret(self) -> str:
        return os.environ.get(self.credentials_env or (AZURE if self.kind == "az" else ""), "")

    @property
    def _given(self) -> dict[str, str]:
        """What the client is told beside what it reads in the environment by itself."""
        text = self._secret
        if self.kind != "az":
            names = {"s3": ("access_key_id", "secret_access_key"), "gs": ("service_account",)}[self.kind]
            return dict(zip(names, text.split(":", len(names) - 1), strict=False)) if text else {}
        said = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
        account = said.get("AccountName") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        host = f"{account}.blob.{said.get('EndpointSuffix', 'core.windows.net')}"
        endpoint = said.get("BlobEndpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT") or f"https://{host}"
        names = {"account_key": "AccountKey", "sas_key": "SharedAccessSignature"}
        account = account or endpoint.partition("://")[2].partition(".")[0]
        found = {"account_name": account, "endpoint": endpoint.rstrip("/")}
        return found | {k: said[n] for k, n in names.items() if n in said}

    def _create(self) -> None:
        """By fsspec, which obstore lacks; what the services create is private."""
        key = dict(zip(("key", "secret"), self._secret.split(":", 1), strict=False))
        azure = {"connection_string": self._secret} if self._secret else {"anon": False}
        options = {"az": azure, "s3": key if self._secret else {}, "gs": {"token": self._secret or None}}[self.kind]
        why = "make it, without public access"
        try:
            with warnings.catch_warnings(action="ignore"):
                fsspec.filesystem(self.kind, skip_instance_cache=True, **options).mkdir(self.container)
        except ImportError:
            why = f"it needs `pip install imgprep[{KINDS[self.kind][4]}]`"
        except Exception:  # every service has errors of its own, and adlfs only warns; so we look again:
            pass  # another run may just have made it
        try:
            next(iter(obstore.list(self._client)), None)
        except exceptions.BaseError:
            missing = f"there is no {self.kind}://{self.container}, and it cannot be created from here"
            raise StoreError(f"{missing}: {why}") from None

    def _etag(self, meta: Any) -> str:
        return "" if self.kind == "file" else (meta["e_tag"] or "").strip('"')  # a disk's would name its blocks

    def _path(self, name: str) -> str:
        return "/".join(filter(None, [self.prefix, name]))
