"""What Prometheus reads, and a line per request: JSON with the names of the Elastic Common Schema,
on a terminal one to read.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from imgprep.redaction import redact

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIGNED_PATH = re.compile(r"^(/v1/played/[^/]+/[^/]+/)[^/]+")


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "imgprep_requests_total",
            "Requests by operation and reason",
            ["op", "reason"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "imgprep_request_seconds",
            "Seconds of a request",
            ["op"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.events = Counter(
            "imgprep_events_total",
            "Messages worked on, by reason",
            ["reason"],
            registry=self.registry,
        )

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Logged:
    """ASGI: one line per request on stdout, and its numbers into the metrics.

    log: "json"; "short", for a person; "auto", short on a terminal and JSON elsewhere; "none".
    """

    def __init__(self, app: Callable, metrics: Metrics, *, log: str = "auto"):
        self.app = app
        self.metrics = metrics
        self.log = log
        if log == "auto":
            self.log = "short" if sys.stdout.isatty() else "json"

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        told: dict[str, Any] = {"status": 0, "reason": ""}

        async def watched(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
            elif message["type"] == "http.response.body" and told["status"] >= 400:
                told["reason"] = _reason_of(message.get("body", b"")) or told["reason"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = time.monotonic() - began
            op = operation_of(scope["path"])
            self.metrics.requests.labels(op, told["reason"]).inc()
            self.metrics.seconds.labels(op).observe(seconds)
            if self.log != "none":
                line = line_of(scope, told, seconds)
                # JSON is for what collects logs; who looks on wants to read.
                text = plain_line(line) if self.log == "short" else json.dumps(line)
                print(text, flush=True)


def operation_of(path: str) -> str:
    """A path as a label: few of them, whatever clients send.

    >>> operation_of("/v1/fit"), operation_of("/v1/objects/00ff/fit"), operation_of("/../x")
    ('fit', 'objects', 'other')
    """
    pieces = path.strip("/").split("/")
    # 64: a label is kept for ever, and clients send what they like.
    if pieces[0] == "v1" and len(pieces) > 1 and pieces[1].isidentifier() and len(pieces[1]) < 64:
        return pieces[1]
    return pieces[0] if pieces[0] in ("healthz", "readyz", "metrics", "docs") else "other"


def path_without_secrets(path: str) -> str:
    """A path as a log may hold it.

    >>> path_without_secrets("/v1/played/00ff/1790000000/abc/master.m3u8")
    '/v1/played/00ff/1790000000/***/master.m3u8'
    >>> path_without_secrets("/v1/objects/https://me:pw@example.org/1.jpg")
    '/v1/objects/https://example.org/1.jpg'
    """
    # A player's address is signed in its path, and whoever has it may look.
    return redact(SIGNED_PATH.sub(r"\1***", path))


def line_of(scope: dict[str, Any], told: dict[str, Any], seconds: float) -> dict[str, Any]:
    """A request's line. The query stays out: it may hold a signature."""
    return {
        "@timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "ecs.version": "8.11.0",
        "log.level": "info",
        "event.dataset": "imgprep.access",
        "event.duration": round(seconds * 1e9),
        "event.reason": told["reason"],
        "http.request.method": scope["method"],
        "http.response.status_code": told["status"],
        "url.path": path_without_secrets(scope["path"]),
        "client.ip": (scope.get("client") or ("",))[0],
    }


def plain_line(line: dict[str, Any]) -> str:
    """The same for a terminal.

    >>> plain_line({"@timestamp": "2026-11-28T09:05:01.000+00:00", "http.request.method": "GET",
    ...     "url.path": "/v1/album", "http.response.status_code": 200, "event.duration": 3_100_000,
    ...     "event.reason": ""})
    '09:05:01 GET /v1/album 200 3 ms'
    """
    # A path holds what its client likes, also what would command the terminal.
    path = "".join(one if one.isprintable() else "?" for one in line["url.path"])
    asked = f"{line['@timestamp'][11:19]} {line['http.request.method']} {path}"
    answered = f"{line['http.response.status_code']} {line['event.duration'] / 1e6:.0f} ms"
    return " ".join(filter(None, [asked, answered, line["event.reason"]]))


def _reason_of(body: bytes) -> str:
    try:
        return json.loads(body).get("reason", "")
    except (ValueError, AttributeError):
        return ""
