"""The album: the gallery's page with the service as its host.

Browse, search, upload, delete, correct.
"""

import asyncio
import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from imgprep import display
from imgprep.serve.answers import Refusal, read_json
from imgprep.serve.records import all_records
from imgprep.serve.service import Service

HERE = Path(__file__).with_name("templates")
GALLERY = Path(display.__file__).with_name("templates")
SMALL_SIDE = 400
LARGE_SIDE = 1600
MOST_SHOWN = 5_000
EVIDENCE = "evidence"
PACKED_LEVEL = 4  # above it costs more time than it saves on a phone


def page_text() -> tuple[str, str]:
    """The page, and the policy that lets its own script run and no other."""
    script = (GALLERY / "gallery.js").read_text("utf-8") + (HERE / "album.js").read_text("utf-8")
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("album.html").render(
        page_style=(HERE / "album.css").read_text("utf-8"),
        style=(GALLERY / "gallery.css").read_text("utf-8"),
        script=script,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; connect-src 'self'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def album_data(service: Service) -> dict[str, Any]:
    """What the component shows of the newest pictures. Blocks: for a thread."""
    # Tables cost as much memory as all else here: only who opens the album pays it.
    import pyarrow as pa

    from imgprep.display.gallery_tags import tag_columns
    from imgprep.rows.tag_columns import TAGS

    found = list(all_records(service.records, "object"))
    # The id behind the time: two of one second would change places from call to call.
    found.sort(key=lambda one: (one.get("at", ""), one["id"]), reverse=True)
    shown = found[:MOST_SHOWN]
    table = pa.table({"tags": pa.array([one.get("tags", []) for one in shown], TAGS)})
    sides = [_fitted_wh(one["width"], one["height"], SMALL_SIDE) for one in shown]
    return {
        "title": "Album",
        "id": [one["id"] for one in shown],
        "src": [one.get("name", "") for one in shown],
        "text": [one.get("name", "").lower() for one in shown],
        "wide": [one["width"] for one in shown],
        "high": [one["height"] for one in shown],
        "w": [w for w, _ in sides],
        "h": [h for _, h in sides],
        "colours": [[] for _ in shown],
        "numbers": {"largest": [one["width"] * one["height"] for one in shown]},
        "evidence": [_evidence(one) for one in shown],
        "order": list(range(len(shown))),
        "small": [_address(service, one["id"], SMALL_SIDE) for one in shown],
        "large": [_address(service, one["id"], LARGE_SIDE) for one in shown],
        **tag_columns(table),
    }


def _fitted_wh(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))


def album_body(service: Service, is_packed: bool) -> bytes:
    """The album as JSON: of 3,000 pictures 1.3 MB, packed a tenth of it. Blocks: for a thread."""
    body = json.dumps(album_data(service)).encode()
    return gzip.compress(body, PACKED_LEVEL) if is_packed else body


def _evidence(record: dict[str, Any]) -> dict[str, Any]:
    """Name of a technique -> what was seen of it."""
    seen = {t["name"]: t[EVIDENCE] for t in record.get("tags", []) if t["kind"] == "composition"}
    return {name: json.loads(text) for name, text in seen.items() if text}


def _address(service: Service, name: str, side: int) -> str:
    """An address for `<img>`, signed where keys are asked for."""
    path = f"/v1/objects/{name}/fit"
    options = {"max_side": str(side), "format": "webp"}
    if service.access.keys:
        return service.access.sign(path, options)
    return f"{path}?max_side={side}&format=webp"


def add_page(app: FastAPI, service: Service) -> None:
    """The routes of the album."""
    page, policy = page_text()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    @app.get("/", include_in_schema=False)
    async def album() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/v1/album", tags=["objects"])
    async def get_album(request: Request) -> Response:
        """The newest pictures with their tags, as the gallery shows them."""
        service.access.allow(request.headers.get("authorization"), "read")
        is_packed = "gzip" in request.headers.get("accept-encoding", "")
        body = await asyncio.to_thread(album_body, service, is_packed)
        more = {"Content-Encoding": "gzip"} if is_packed else {}
        return Response(
            body, media_type="application/json", headers={"Vary": "Accept-Encoding"} | more
        )

    @app.post("/v1/corrections", tags=["objects"])
    async def correct(request: Request) -> JSONResponse:
        """Decisions about tags: {"corrections": [{"image_id", "kind", "name", "accepted"}]}."""
        who = service.access.allow(request.headers.get("authorization"), "write")
        try:
            given = read_json(await request.body())["corrections"]
            asked = [
                (c["image_id"], str(c["kind"]), str(c["name"]), bool(c["accepted"])) for c in given
            ]
        except (ValueError, KeyError, TypeError):
            told = 'send {"corrections": [{"image_id", "kind", "name", "accepted"}]}'
            raise Refusal("wrong_option", told) from None
        for name, kind, tag, accepted in asked:
            await service.objects.correct(name, kind, tag, accepted, who or "album")
        return JSONResponse({"taken": len(asked)})
