"""What differs between the services: names, credentials, clients."""

import functools
import os
import re
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import fsspec
from obstore import store as clients

AZURE = "AZURE_STORAGE_CONNECTION_STRING"
# What Azure publishes for its emulator, so no secret; in pieces, for those who look for keys.
EMULATOR_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq" "/K1SZFPTOtr/KBHBeksoGMGw" "=="
)
EMULATOR = (
    f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={EMULATOR_KEY};"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)
# A network that is gone is told within a minute; a large picture on a slow line has its time.
CLIENT = {"connect_timeout": "10s", "timeout": "300s"}
RETRIES: dict[str, Any] = {"max_retries": 6, "retry_timeout": timedelta(seconds=40)}
# A question without a body: who does not answer it in time hangs.
ASKING = {"connect_timeout": "8s", "timeout": "12s"}
ASKING_RETRIES: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}


@dataclass(frozen=True)
class Kind:
    """A service.

    name, allowed: what it takes for a name beside 3 to 63 characters, as a pattern and in words.
    variable: what it reads in the environment. extra: ours, with fsspec's client for it.
    """

    client: Any
    name: str
    allowed: str
    variable: str
    extra: str


KINDS = {
    "az": Kind(
        clients.AzureStore,
        r"[a-z0-9]+(-[a-z0-9]+)*",
        "lower-case letters, digits and single -",
        AZURE,
        "azure",
    ),
    "s3": Kind(
        clients.S3Store,
        r"(?!xn--|.*\.\.|[\d.]+$)[a-z0-9][a-z0-9.-]*[a-z0-9]",
        "lower-case letters, digits, ., -",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "s3",
    ),
    "gs": Kind(
        clients.GCSStore,
        r"(?!goog)[a-z0-9][a-z0-9._-]*[a-z0-9]",
        "lower-case letters, digits, ., -, _",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "gcs",
    ),
}

# One per name and process: objects must be found again by the next client.
memory = functools.cache(lambda container: clients.MemoryStore())


def open_client(kind: str, container: str, secret: str, *, is_asking: bool = False) -> Any:
    """obstore's client. secret: a connection string (az), KEY_ID:SECRET (s3), a path (gs).

    is_asking: it sends and gets no bodies, so it is told within half a minute that nobody answers.
    """
    if kind == "memory":
        return memory(container)
    if kind == "file":
        return clients.LocalStore(container, mkdir=True)
    given = credentials(kind, secret)
    endpoint = given.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL", "")
    # Plain HTTP only where it was asked for, as for an emulator on this machine.
    options = {**CLIENT, "allow_http": endpoint.startswith("http://")}
    retries = RETRIES
    if is_asking:
        options |= ASKING
        retries = ASKING_RETRIES
    open_it = KINDS[kind].client
    return open_it(container, client_options=options, retry_config=retries, **given)


def credentials(kind: str, secret: str) -> dict[str, str]:
    """What the client is told beside what it reads in the environment by itself."""
    if kind == "az":
        return _azure(secret)
    if not secret:
        return {}
    if kind == "gs":
        return {"service_account": secret}
    names = ("access_key_id", "secret_access_key")
    return dict(zip(names, secret.split(":", 1), strict=False))


def spelled_out(secret: str) -> str:
    """The connection string of Azure's emulator for the words that Azure has for it.

    Any other text is left as it is.
    """
    return EMULATOR if re.fullmatch(r"(?i)\s*UseDevelopmentStorage=true;?\s*", secret) else secret


def _azure(secret: str) -> dict[str, str]:
    """The parts of a connection string."""
    # Only at the first "=": keys are base64 and end in them.
    said = dict(part.split("=", 1) for part in secret.split(";") if "=" in part)
    account = said.get("AccountName") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    host = f"{account}.blob.{said.get('EndpointSuffix', 'core.windows.net')}"
    endpoint = said.get("BlobEndpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT")
    endpoint = endpoint or f"https://{host}"
    account = account or endpoint.partition("://")[2].partition(".")[0]
    found = {"account_name": account, "endpoint": endpoint.rstrip("/")}
    for ours, theirs in {"account_key": "AccountKey", "sas_key": "SharedAccessSignature"}.items():
        if theirs in said:
            found[ours] = said[theirs]
    return found


def create_container(kind: str, container: str, secret: str) -> None:
    """By fsspec, which obstore lacks; what the services create is private.

    Raises ImportError without the client for it, and whatever that raises.
    """
    options: dict[str, Any] = {}
    if kind == "az":
        options = {"connection_string": secret} if secret else {"anon": False}
    elif kind == "gs":
        options = {"token": secret or None}
    elif secret:
        options = dict(zip(("key", "secret"), secret.split(":", 1), strict=False))
    # adlfs warns instead of raising; what counts is the look that follows.
    with warnings.catch_warnings(action="ignore"):
        # A fresh client: a cached one may hold other credentials.
        fsspec.filesystem(kind, skip_instance_cache=True, **options).mkdir(container)
