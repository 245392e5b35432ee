"""Run a service: `imgprep serve`, or `with serve.start(warm) as here:` in a cell."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from imgprep.serve.admission import Admission
from imgprep.serve.http import build_app
from imgprep.serve.metrics import Logged
from imgprep.serve.service import Service, Settings
from imgprep.words import say

LISTENS_S = 90  # a busy machine; a door that does not open by then never will
STOP_S = 30


def asgi(service: Service, *, log: str = "") -> Callable:
    """All that stands before the app: the log outside, then who may come in.

    log: of `Logged`, where it is not as the settings say.
    """
    settings = service.settings
    admission = Admission(
        build_app(service),
        max_bytes=settings.max_bytes,
        in_flight_bytes=settings.in_flight_bytes,
        streamed=("/v1/uploads/", settings.upload_bytes),
    )
    in_flight = lambda: admission.in_flight_bytes - admission.room  # noqa: E731
    service.metrics.watch("imgprep_bytes_in_flight", "Bytes of bodies being read", in_flight)
    return Logged(admission, service.metrics, log=log or settings.log)


def _uvicorn_config(service: Service, *, log: str = "") -> uvicorn.Config:
    return uvicorn.Config(
        asgi(service, log=log),
        host=service.settings.host,
        port=service.settings.port,
        log_level="warning",
        # The service writes a line for each request itself, without the query.
        access_log=False,
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
        # Of a request's head: admission looks at it only when all of it is there.
        h11_max_incomplete_event_size=16 << 10,
    )


class Listening:
    """A service that listens, in a thread of its own."""

    def __init__(self, service: Service, *, is_quiet: bool = True):
        self.service = service
        log = "none" if is_quiet else ""
        self._server = uvicorn.Server(_uvicorn_config(service, log=log))
        # A daemon: a notebook that ends takes it along.
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def url(self) -> str:
        return _url_of(self._server)

    def listen(self) -> "Listening":
        """Start, and come back when it answers.

        RuntimeError where the port is taken, or when it does not answer within 90 s.
        """
        self._thread.start()
        until = time.monotonic() + LISTENS_S
        while not self._server.started:
            if not self._thread.is_alive():
                told = f"port {self.service.settings.port} cannot be listened on"
                raise RuntimeError(f"{told}: name another")
            if time.monotonic() > until:
                self._server.should_exit = True
                raise RuntimeError(f"the service did not start within {LISTENS_S} s")
            time.sleep(0.02)
        return self

    def __enter__(self) -> "Listening":
        return self

    def __exit__(self, *error: Any) -> None:
        self.service.is_stopping = True
        self._server.should_exit = True
        self._thread.join(STOP_S)
        self.service.close()

    close = __exit__

    def __repr__(self) -> str:
        names = ", ".join(self.service.operations)
        return f"{self.url} serves {names}; {self.url}/docs says how to call them"


def start(*functions: Callable, port: int = 0, **settings: Any) -> Listening:
    """Serve functions of this notebook, beside the built-in ones:
    `with start(warm) as here: here.url`.

    port 0 takes a free one. settings: of `Settings`.
    """
    service = Service(Settings(port=port, **settings), functions)
    service.start()
    try:
        return Listening(service).listen()
    except BaseException:
        service.close()
        raise


def serve_forever(settings: Settings, functions: list[Callable]) -> None:
    """Serve until SIGTERM or Ctrl-C; what is in work is finished."""
    service = Service(settings, functions)
    service.start()
    # uvicorn raises its signal again when all is answered; by default that would end us before the
    # workers end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *given: None)
    try:
        _listen_for_ever(service)
    except SystemExit:
        told = f"{settings.host}:{settings.port} cannot be listened on"
        raise ValueError(f"{told}: name another port") from None
    finally:
        service.is_stopping = True
        service.close()


class _Announced(uvicorn.Server):
    """Says where it listens once it does: port 0 is a free one, and who reads it may call at once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            announce(_url_of(self))


def announce(url: str) -> None:
    say(f"{url} is the album, {url}/docs says how to call it; Ctrl-C ends it")


def _url_of(server: uvicorn.Server) -> str:
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen_for_ever(service: Service) -> None:
    _Announced(_uvicorn_config(service)).run()
