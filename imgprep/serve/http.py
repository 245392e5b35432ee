"""The REST door: an operation on a body, objects, what is made of them, health.

FastAPI; the body is read once.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from imgprep.serve.answers import Refusal, Result, read_json, whole_number
from imgprep.serve.jobs import Jobs, read_steps
from imgprep.serve.ladders import add_ladders
from imgprep.serve.operations import MEDIA_TYPES, Operation, checked, job_id
from imgprep.serve.page import add_page
from imgprep.serve.ranges import answer_range
from imgprep.serve.reference import add_reference
from imgprep.serve.refusals import STRICT, add_refusals
from imgprep.serve.service import Service
from imgprep.serve.taking import take_folder
from imgprep.serve.uploads import Spool, add_uploads

GRPC_STOP_S = 20
CACHED = "public, max-age=31536000, immutable"
# In the order in which a client that accepts several gets them.
ACCEPTED = {"image/avif": "AVIF", "image/webp": "WEBP", "image/png": "PNG", "image/jpeg": "JPEG"}


def build_app(service: Service) -> FastAPI:
    """The app of a service that has been started. Routes for every operation it knows."""
    jobs = Jobs(service)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        # Before the doors open: what was queued has waited longest.
        await jobs.resume()
        door = None
        if service.settings.grpc_port is not None:
            from imgprep.serve.remote import serve_grpc  # grpcio is not everybody's

            place = service.settings.host, service.settings.grpc_port
            door, service.grpc_port = await serve_grpc(service, jobs, *place)
        taking = _begin_taking(service, jobs)
        yield
        if taking is not None:
            taking.cancel()
        if door is not None:
            await door.stop(GRPC_STOP_S)
        await jobs.close()

    app = FastAPI(title="imgprep", version="1", docs_url=None, redoc_url=None, lifespan=life)
    _add_jobs(app, service, jobs)
    settings = service.settings
    add_page(app, service)
    add_reference(app)
    add_uploads(
        app, service, Spool(f"{settings.out}/uploads", max_bytes=settings.upload_bytes), jobs
    )
    add_refusals(app)
    _add_puts(app, service, jobs)
    _add_objects(app, service)
    _add_contents(app, service)
    add_ladders(app, service)
    _add_health(app, service)
    for operation in service.operations.values():
        _add_operation(app, service, operation)
    return app


def _begin_taking(service: Service, jobs: Jobs) -> asyncio.Task | None:
    """The pictures that the service was given, put in the background: it answers meanwhile."""
    if service.settings.pictures is None:
        return None
    folder = Path(service.settings.pictures).absolute()
    return asyncio.create_task(take_folder(service, jobs, folder))


def answered(result: Result, **headers: str) -> Response:
    return Response(result.body, media_type=result.media_type, headers=STRICT | headers)


async def raw_body(request: Request) -> bytearray:
    """The body, put where it stays: pieces that are joined at the end need twice the memory."""
    declared = request.headers.get("content-length", "")
    # The length that was declared: a bytearray that grows by pieces copies itself again and again.
    held = bytearray(whole_number(declared) or 0)
    at = 0
    async for piece in request.stream():
        held[at : at + len(piece)] = piece
        at += len(piece)
    # Less may have come than was declared.
    del held[at:]
    return held


async def body_of(request: Request) -> bytes | bytearray:
    """The picture: the body itself, or the one file of a form."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await raw_body(request)
    # One file: a form of a thousand parts costs memory before any of them is looked at.
    async with request.form(max_files=1, max_fields=20) as form:
        files = [value for value in form.values() if not isinstance(value, str)]
        if not files:
            raise Refusal("empty", "the form holds no file")
        return await files[0].read()


def options_of(request: Request, *doors: str) -> dict[str, Any]:
    """The query as options; a name that comes several times is a list.

    Doors: names that are not options.
    """
    found: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if name not in (*doors, "format", "quality"):
            found[name] = values[0] if len(values) == 1 else values
    return found


def encoding_of(request: Request) -> tuple[str, int | None]:
    """The format and quality that are asked for, or that the client accepts; else JPEG."""
    asked = request.query_params.get("format", "").upper().replace("JPG", "JPEG")
    if asked and asked not in MEDIA_TYPES:
        raise Refusal("wrong_option", f"format: one of {', '.join(MEDIA_TYPES)}, not {asked!r}")
    given = request.query_params.get("quality")
    quality = None if given is None else whole_number(given)
    if given is not None and not (quality and quality <= 100):
        raise Refusal("wrong_option", f"quality: from 1 to 100, not {given[:80]!r}")
    accepted = request.headers.get("accept", "")
    # Browsers that can say so by name; `image/*` and `*/*` are said by everybody.
    # By the whole name: a browser that takes AVIF says so, while "*/*" is said by curl as well.
    negotiated = next((f for kind, f in ACCEPTED.items() if kind in accepted), "JPEG")
    return asked or negotiated, quality


def _add_operation(app: FastAPI, service: Service, operation: Operation) -> None:
    async def run(request: Request) -> Response:
        service.access.allow(request.headers.get("authorization"), "read")
        options = checked(operation, options_of(request, "url"))
        format, quality = encoding_of(request)
        url = request.query_params.get("url")
        data = await (service.fetched(url) if url else body_of(request))
        result = await service.run(operation.name, data, options, format, quality)
        return answered(result, Vary="Accept")

    app.add_api_route(
        f"/v1/{operation.name}",
        run,
        methods=["POST"],
        name=operation.name,
        summary=operation.help.splitlines()[0],
        description=operation.help,
        openapi_extra=documented(operation),
        response_class=Response,
        tags=["operations"],
    )


BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURE_BODY = {
    "required": True,
    "content": {"application/octet-stream": BINARY, "image/*": BINARY},
}
STEPS_SCHEMA = {
    "type": "object",
    "required": ["steps"],
    "properties": {
        "steps": {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}}
    },
    "example": {"steps": ["denoise", {"fit": {"max_side": 800}}]},
}
STEPS_BODY = {"required": True, "content": {"application/json": {"schema": STEPS_SCHEMA}}}


def documented(operation: Operation) -> dict[str, Any]:
    """Parameters and body of an operation as OpenAPI has them."""
    schema = operation.options.model_json_schema()
    required = schema.get("required", [])
    parameters = [
        {"name": name, "in": "query", "required": name in required, "schema": dict(known)}
        for name, known in schema.get("properties", {}).items()
    ]
    formats = {"type": "string", "enum": list(MEDIA_TYPES)}
    parameters.append({"name": "format", "in": "query", "required": False, "schema": formats})
    quality = {"type": "integer", "minimum": 1, "maximum": 100}
    parameters.append({"name": "quality", "in": "query", "required": False, "schema": quality})
    return {"parameters": parameters, "requestBody": PICTURE_BODY}


def _add_puts(app: FastAPI, service: Service, jobs: Jobs) -> None:
    words = [
        {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("name", "steps")
    ]
    described = {"requestBody": PICTURE_BODY, "parameters": words}

    @app.put("/v1/objects", tags=["objects"], openapi_extra=described)
    @app.post("/v1/objects", tags=["objects"], openapi_extra=described)
    async def put_object(request: Request) -> JSONResponse:
        """Keep a picture or a film. 201 with its id (the sha256 of its bytes), 200 where it is there already.

        name: what people call it, to be found by; it names no file.
        steps: what is done with it in the background, instead of what the service does with every
        upload: a JSON list, or names with commas; nothing for none. `job` is where its outcome is.
        """
        service.access.allow(request.headers.get("authorization"), "write")
        steps = jobs.steps_of(request.query_params.get("steps"))
        called = request.query_params.get("name", "")
        name, record, is_new = await service.objects.put(await body_of(request), called=called)
        begun = await jobs.begin(name, steps)
        return JSONResponse({"id": name, **record, **begun}, 201 if is_new else 200, STRICT)


def _add_objects(app: FastAPI, service: Service) -> None:
    objects = service.objects

    @app.get("/v1/objects", tags=["objects"])
    async def list_objects(request: Request, after: str = "", limit: int = 100) -> JSONResponse:
        """Records in the order of their ids, behind `after`."""
        service.access.allow(request.headers.get("authorization"), "read")
        found = await service.listed(after, min(max(limit, 1), 1000))
        return JSONResponse({"objects": found}, headers=STRICT)

    @app.get("/v1/objects/{name}", tags=["objects"])
    async def get_object(request: Request, name: str) -> JSONResponse:
        """What is known of an object."""
        service.access.allow(request.headers.get("authorization"), "read")
        return JSONResponse({"id": name, **await objects.record(name)}, headers=STRICT)

    @app.delete("/v1/objects/{name}", tags=["objects"], status_code=204)
    async def delete_object(request: Request, name: str) -> Response:
        """Take away an object and all that was made of it."""
        service.access.allow(request.headers.get("authorization"), "write")
        await objects.delete(name)
        return Response(status_code=204, headers=STRICT)


def _add_contents(app: FastAPI, service: Service) -> None:
    objects = service.objects

    @app.get("/v1/objects/{name}/content", tags=["objects"])
    async def get_content(request: Request, name: str) -> Response:
        """The bytes of an object, or the range of them that is asked for."""
        service.access.allow(request.headers.get("authorization"), "read")
        stored = await objects.stored(name)
        headers = {"Content-Disposition": f'attachment; filename="{name[:16]}"'}
        return await answer_range(stored, request.headers.get("range", ""), headers)

    @app.get("/v1/objects/{name}/{op}", tags=["objects"])
    async def get_result(request: Request, name: str, op: str) -> Response:
        """What an operation makes of an object: made once, kept, cached.

        Its address can be signed for `<img>`.
        """
        query = dict(request.query_params)
        # A signature or a key; not both, since <img> can send no header.
        if not service.access.is_signed(request.url.path, query):
            service.access.allow(request.headers.get("authorization"), "read")
        operation = service.operation(op)
        options = checked(operation, options_of(request, "expires", "signature"))
        format, quality = encoding_of(request)
        job = job_id(operation.key, options | {"format": format, "quality": quality}, name)
        headers = {"ETag": f'"{job}"', "Cache-Control": CACHED, "Vary": "Accept"}
        # By the id alone: a result is made of content,
        # so a client that has it need not send for it.
        if request.headers.get("if-none-match") == headers["ETag"]:
            # But only where the object is still there: a deleted one must not live on in caches.
            await objects.record(name)
            return Response(status_code=304, headers=headers)

        async def make(data: bytes) -> Result:
            return await service.run(op, data, options, format, quality)

        return answered(await objects.result(name, job, make), **headers)


def _add_jobs(app: FastAPI, service: Service, jobs: Jobs) -> None:
    described = {"requestBody": STEPS_BODY}

    @app.post("/v1/objects/{name}/steps", tags=["jobs"], status_code=202, openapi_extra=described)
    async def add_steps(request: Request, name: str) -> JSONResponse:
        """Do steps in the background: `{"steps": ["denoise", {"fit": {"max_side": 800}}]}`.

        202 and the job.
        """
        service.access.allow(request.headers.get("authorization"), "write")
        try:
            asked = read_json(await request.body())
        except ValueError:
            raise Refusal("wrong_option", "the body is no JSON") from None
        steps = read_steps(service, asked.get("steps") if isinstance(asked, dict) else asked)
        job, record = await jobs.add(name, steps)
        headers = STRICT | {"Location": f"/v1/jobs/{job}"}
        return JSONResponse({"id": job, **record}, 202, headers)

    @app.get("/v1/jobs/{job}", tags=["jobs"])
    async def get_job(request: Request, job: str) -> JSONResponse:
        """How far a job is, and the outcome of each step."""
        service.access.allow(request.headers.get("authorization"), "read")
        return JSONResponse({"id": job, **await jobs.find(job)}, headers=STRICT)

    @app.get("/v1/results/{job}", tags=["jobs"])
    async def get_step_result(request: Request, job: str) -> Response:
        """What a step made."""
        service.access.allow(request.headers.get("authorization"), "read")
        return answered(
            await service.objects.results.kept(job), ETag=f'"{job}"', **{"Cache-Control": CACHED}
        )


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Is the process alive?"""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"])
    async def readyz() -> Response:
        """Do workers, records and store answer? 503 while it starts and from SIGTERM on."""
        state: Mapping[str, str] = await service.state()
        is_ready = all(value == "ok" for value in state.values())
        return Response(json.dumps(state), 200 if is_ready else 503, STRICT, "application/json")

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")
