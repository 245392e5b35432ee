"""What goes wrong as an answer: its reason, its sentence, its status, whoever raised it."""

from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.exceptions import StarletteHTTPException as HTTPException
from fastapi.responses import JSONResponse

from imgprep.failures import RunStopped
from imgprep.io.stores.faults import StoreError
from imgprep.redaction import redact
from imgprep.serve.answers import Refusal
from imgprep.serve.records import RecordsDown

STRICT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}
REASONS_OF_STATUS = {400: "wrong_option", 404: "no_such_operation"}
OUTAGE_S = 5
# Records, store or disk: nothing is wrong with what was asked, and it is worth asking again.
OUTAGES = (RecordsDown, StoreError, RunStopped, OSError)


def outage(e: Exception) -> Refusal:
    """What a client is told of an outage: no path of this machine."""
    # Before OSError, which it is: its object was deleted, and nothing is out of order.
    if isinstance(e, FileNotFoundError):
        return Refusal("missing_file", "its bytes are not in the store")
    told = str(e)
    if isinstance(e, OSError):
        told = f"the server cannot read or write its files: {e.strerror or type(e).__name__}"
    return Refusal("busy", told, retry_after_s=OUTAGE_S)


def add_refusals(app: FastAPI) -> None:
    """No door of this app answers by a bare 500 for what can be told."""
    app.exception_handler(Refusal)(_refused)
    app.exception_handler(HTTPException)(_no_such_path)
    app.exception_handler(RequestValidationError)(_wrong_query)
    for kind in OUTAGES:
        app.exception_handler(kind)(_out_of_order)


async def _refused(request: Request, refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.body(), refusal.status, STRICT | refusal.all_headers())


async def _out_of_order(request: Request, e: Exception) -> JSONResponse:
    """Records, store or disk do not do their part; or an object's bytes are gone."""
    return await _refused(request, outage(e))


async def _wrong_query(request: Request, e: RequestValidationError) -> JSONResponse:
    """A number in the query that is none."""
    first = e.errors()[0]
    told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return await _refused(request, Refusal("wrong_option", told))


async def _no_such_path(request: Request, e: HTTPException) -> JSONResponse:
    """A path or method that no route has; a form that cannot be read."""
    reason = REASONS_OF_STATUS.get(e.status_code, "not_allowed")
    told = f"{e.detail}: {request.method} {unquote(request.url.path)}; /docs lists what there is"
    return JSONResponse({"reason": reason, "error": redact(told)}, e.status_code, STRICT)
