"""`/docs`: Swagger UI where the browser gets it from its host, and the same said plainly without."""

from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

# Swagger UI draws over an empty page; where its script did not come, ours stays.
PLAIN_PAGE = """<main id="plain">
<style>#plain {{ font: 1rem/1.5 sans-serif; max-width: 48rem; padding: 1rem }}
#plain h2 {{ font-size: 1rem; margin: 2rem 0 0; overflow-wrap: anywhere }}</style>
<h1>{title}</h1>
<p>For programs: <a href="openapi.json">openapi.json</a></p>
{calls}
</main>
<script>globalThis.SwaggerUIBundle && document.getElementById("plain").remove()</script>
</body>"""


def add_reference(app: FastAPI) -> None:
    """The page `/docs` of an app that is made with `docs_url=None`."""

    @app.get("/docs", include_in_schema=False)
    def reference() -> HTMLResponse:
        drawn = bytes(get_swagger_ui_html(openapi_url="openapi.json", title=app.title).body)
        page = drawn.decode()
        return HTMLResponse(page.replace("</body>", plain_reference(app.openapi())))


def plain_reference(told: dict[str, Any]) -> str:
    """What an OpenAPI document says, as HTML that needs nothing else."""
    calls = [
        _told_call(method, path, call)
        for path, methods in told["paths"].items()
        for method, call in methods.items()
    ]
    return PLAIN_PAGE.format(title=escape(told["info"]["title"]), calls="\n".join(calls))


def _told_call(method: str, path: str, call: dict[str, Any]) -> str:
    said = call.get("description") or call.get("summary", "")
    options = [_told_option(one) for one in call.get("parameters", ())]
    listed = f"<ul>{''.join(options)}</ul>" if options else ""
    return f"<h2>{method.upper()} {escape(path)}</h2>\n<p>{escape(said)}</p>{listed}"


def _told_option(one: dict[str, Any]) -> str:
    schema = one.get("schema", {})
    kind = schema.get("type", "")
    default = f" = {schema['default']}" if "default" in schema else ""
    must = ", needed" if one.get("required") else ""
    return f"<li><b>{escape(one['name'])}</b> {escape(f'{kind}{default}{must}')}</li>"
