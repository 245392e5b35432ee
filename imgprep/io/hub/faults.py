"""What goes wrong with the Hub, as one sentence each."""

from typing import Any, Protocol

from huggingface_hub import errors

from imgprep.failures import RunStopped
from imgprep.redaction import redact

PASSING_STATUS = {408, 429, 500, 502, 503, 504}
NO_ROOM = {402, 413}
SEND_AGAIN = "run it again: what has arrived is not sent twice"


class HubCall(Protocol):
    """The repository that a fault is about."""

    id: str
    user: str
    token: str

    @property
    def url(self) -> str: ...

    @property
    def endpoint(self) -> str: ...


class NoRepository(ValueError):
    """There is no such repository."""


def stale(repo: HubCall) -> RunStopped:
    what = f"somebody else published to {repo.id} meanwhile and nothing was changed"
    return RunStopped(f"{what}: look at {repo.url}, then run it again")


def status_of(e: Exception) -> int | None:
    """The HTTP status of an error, None without an answer."""
    return getattr(getattr(e, "response", None), "status_code", None)


def may_pass_again(e: Exception) -> bool:
    """Whether it makes sense to ask again."""
    status = status_of(e)
    if status is None:
        return not isinstance(e, ValueError | errors.OfflineModeIsEnabled)
    return status in PASSING_STATUS


def wait_s(e: Exception) -> float:
    """The seconds for which the Hub asks to wait; 0 where it does not say."""
    response: Any = getattr(e, "response", None)
    text = "" if response is None else response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0


def hub_sentence(repo: HubCall, e: Exception) -> Exception:
    """The error to raise: what happened, and what to do."""
    words = getattr(e, "server_message", None) or str(e)
    said = redact(" ".join(words.split()))[:300].replace(repo.token, "***")
    status = status_of(e)
    if isinstance(e, errors.OfflineModeIsEnabled):
        return ValueError("HF_HUB_OFFLINE is set, so the Hub is not asked: unset it to publish")
    if isinstance(e, errors.GatedRepoError):
        what = f"{repo.id} is gated and {repo.user} has no access to it"
        return ValueError(f"{what}: ask for it at {repo.url}")
    if isinstance(e, errors.RepositoryNotFoundError):
        return NoRepository(
            f"there is no dataset {repo.id} on the Hub, or this token may not see it"
        )
    if status is not None:
        return _refusal(repo, status, said)
    if isinstance(e, ValueError):  # of our own making, such as a name that is none
        return ValueError(said)
    what = f"the connection to {repo.endpoint} failed ({type(e).__name__}: {said})"
    return RunStopped(f"{what}: {SEND_AGAIN}")


def _refusal(repo: HubCall, status: int, said: str) -> Exception:
    """What an answer of the Hub's means."""
    is_full = "storage" in said.lower() or "quota" in said.lower()
    if status == 401:
        fix = "make a new one at its /settings/tokens"
        return ValueError(f"the Hub does not take the token: {fix}")
    if status == 412:
        return stale(repo)
    if status in NO_ROOM or (status == 403 and is_full):
        what = f"there is no room left for {repo.id} on the Hub ({said})"
        return RunStopped(f"{what}: make room, then {SEND_AGAIN}")
    if status == 403:
        return ValueError(f"{repo.user or 'this token'} may not write to {repo.id}: {said}")
    if status == 429:
        return RunStopped(
            f"the Hub has had too many requests (429): wait a while, then {SEND_AGAIN}"
        )
    if status >= 500:
        return RunStopped(
            f"the Hub has a fault of its own ({status}): wait a while, then {SEND_AGAIN}"
        )
    return ValueError(f"the Hub refuses {repo.id} ({status}): {said}")
