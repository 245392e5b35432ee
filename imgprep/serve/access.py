"""Who may do what: bearer keys kept as hashes, signed addresses for `<img>`,
and how often a key may ask.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from imgprep.serve.answers import Refusal, whole_number

ROLES = ("read", "write")


@dataclass(frozen=True)
class Key:
    """A key's name, what it may do, and the sha256 of its secret."""

    name: str
    role: str
    sha256: str


def hashed_key(name: str, role: str, secret: str) -> str:
    """The line of a key for the file of keys: what is kept of the secret is its hash.

    >>> hashed_key("phone", "read", "a long random secret")[:16]
    'phone:read:b23a7'
    """
    # A plain hash will do: a secret is long and random here, and no password that could be guessed.
    return f"{name}:{role}:{hashlib.sha256(secret.encode()).hexdigest()}"


def read_keys(text: str) -> list[Key]:
    """Keys of lines `name:role:sha256`; ValueError says which line is none, without showing it."""
    found = []
    for number, line in enumerate(text.split(), 1):
        name, _, rest = line.partition(":")
        role, _, sha256 = rest.partition(":")
        if not name or role not in ROLES or len(sha256) != 64:
            raise ValueError(
                f"line {number} of the keys is not name:role:sha256, role read or write"
            )
        found.append(Key(name, role, sha256.lower()))
    return found


def keys_of(keys_file: str | None, keys_env: str | None) -> list[Key]:
    """The keys in a file, or in the variable of this name."""
    text = ""
    if keys_file:
        with open(keys_file, encoding="utf-8") as file:
            text = file.read()
    if keys_env:
        if keys_env not in os.environ:
            raise ValueError(f"keys_env names the variable {keys_env}, which is not set")
        text += "\n" + os.environ[keys_env]
    return read_keys(text)


@dataclass
class Bucket:
    """Tokens of a key: so many a second, and a burst of twice that."""

    rate: float
    tokens: float = field(init=False)
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = 2 * self.rate

    def take(self) -> float:
        """0 where there is a token, else seconds until there is one."""
        now = time.monotonic()
        self.tokens = min(2 * self.rate, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0


class Access:
    """Asks for a key and for a signature.

    Without keys everybody may (the server listens on this machine only).
    """

    def __init__(self, keys: list[Key], *, secrets: Sequence[str] = (), rate: float | None = None):
        self.keys = keys
        self.secrets = [s.encode() for s in secrets]
        self.rate = rate
        self._buckets: dict[str, Bucket] = {}

    def allow(self, authorization: str | None, role: str) -> str:
        """The name of the key that a request's Authorization header holds.

        Refusal: no_key, not_allowed, rate.
        """
        if not self.keys:
            return ""
        kind, _, secret = (authorization or "").partition(" ")
        given = hashlib.sha256(secret.strip().encode()).hexdigest()
        # Every key is compared, so that the time tells nothing.
        found = [k for k in self.keys if hmac.compare_digest(k.sha256, given)]
        if kind.lower() != "bearer" or not found:
            told = "send a key: Authorization: Bearer …"
            raise Refusal("no_key", told, headers={"WWW-Authenticate": "Bearer"})
        key = found[0]
        if role == "write" and key.role != "write":
            raise Refusal("not_allowed", f"the key {key.name} may read only")
        self._count(key.name)
        return key.name

    def _count(self, name: str) -> None:
        if self.rate is None:
            return
        bucket = self._buckets.setdefault(name, Bucket(self.rate))
        wait_s = bucket.take()
        if wait_s:
            told = f"more than {self.rate:g} requests a second with this key"
            raise Refusal("too_many_requests", told, retry_after_s=wait_s)

    def sign(self, path: str, options: dict[str, str], *, expires_s: int = 86_400) -> str:
        """An address that anybody may read for so long: path?options&expires&signature.

        Raises ValueError without a secret to sign with.
        """
        if not self.secrets:
            raise ValueError("there is no secret to sign with: set secrets_env")
        expires = str(int(time.time()) + expires_s)
        query = {**options, "expires": expires}
        query["signature"] = _signature(self.secrets[0], path, query)
        return f"{path}?{urlencode(query)}"

    def is_signed(self, path: str, query: dict[str, str]) -> bool:
        """Does this query carry a signature of ours that has not expired?

        Any secret will do: they rotate.
        """
        given = dict(query)
        signature = given.pop("signature", "")
        expires = whole_number(given.get("expires", ""))
        if not signature or expires is None or expires < time.time():
            return False
        wanted = [_signature(secret, path, given) for secret in self.secrets]
        sent = signature.encode()  # compare_digest takes no text that is not ASCII
        # A list and no generator: `any` would stop at the
        # first, and the time would tell which secret it was.
        return any([hmac.compare_digest(sent, one.encode()) for one in wanted])

    def signed_folder(self, folder: str, expires: int) -> str:
        """The folder of addresses that anybody may read until then: folder/expires/signature."""
        signature = _signature(self.secrets[0], folder, {"expires": str(expires)})
        return f"{folder}/{expires}/{signature}"

    def is_signed_folder(self, folder: str, expires: str, signature: str) -> bool:
        """Is the signature ours, and has it not expired?"""
        return self.is_signed(folder, {"expires": expires, "signature": signature})


def _signature(secret: bytes, path: str, query: dict[str, str]) -> str:
    text = f"{path}?{urlencode(sorted(query.items()))}"
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
