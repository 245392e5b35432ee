"""What goes wrong with a store, as one sentence each."""

import functools
import re
from collections.abc import Callable
from typing import Any

from obstore import exceptions

from imgprep.failures import RunStopped, Told

MISSING = "ContainerNotFound|NoSuchBucket"
DENIED = r"AccessDenied|AuthorizationPermission|AuthorizationResource|os error 13\b"
REFUSED = (
    r"Authenticat|AuthorizationFail|InvalidAccessKey|SignatureDoesNotMatch|Invalid Access"
    r"|invalid_grant"
)
SILENT = r"HTTP error: (?!builder)|status code: (5\d\d|429)|urlopen|Errno|timed out|Remote end"
STORE_SAYS = {  # what the services' errors mean, in the order in which they are looked for
    r"ExpiredToken|InvalidToken|specified time frame|token is expired": (
        "what signs requests to {0} has expired: get a new one"
    ),
    REFUSED: "{0} refuses these credentials: check {1}",
    r"token request|api/token|169\.254\.169\.254|Account must be": (
        "there are no credentials for {0}: set {1}"
    ),
    r"AuthorizationHeaderMalformed|PermanentRedirect": (
        "{0} lies in another region: set AWS_REGION"
    ),
    MISSING: "there is no {0}: create it, without public access",
    "Object at location .* not found": "there is no such object in {0}",
    DENIED: "no permission in {0}: it takes the right to read, list and write",
    r"os error 28\b": "no space is left in {0}: free some and run it again",
    SILENT: "{0} does not answer: run it again when it does",
}


class StoreError(Told, ValueError):
    """A store that cannot be used like this: one sentence that says what to do."""


def told(method: Callable) -> Callable:
    """A service's error as one sentence. Nothing of its text is passed on: it may hold a signature.

    For methods of an object that has `uri` and `variable`, the one that holds its credentials.
    """

    @functools.wraps(method)
    def run(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        # OSError: of the GET without credentials.
        except (exceptions.BaseError, OSError) as e:
            sentence = _meaning(e).format(self.uri, self.variable)
        # Outside of the except: a RunStopped raised within
        # it would carry the service's text as its context.
        raise (RunStopped if "answer" in sentence else StoreError)(sentence)

    return run


def _meaning(e: Exception) -> str:
    text = str(e)
    # In the order of STORE_SAYS, since a sentence of a service often holds several of these words.
    for pattern, sentence in STORE_SAYS.items():
        if re.search(pattern, text):
            return sentence
    code = re.search(r"<Code>(\w+)</Code>", text)
    return "{0} does not do this: " + (code[1] if code else type(e).__name__)
