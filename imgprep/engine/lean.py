"""A Ray of this machine without the processes that it has no use for here. It has no options for that."""

import functools
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# No nodes come or go on one machine, and what workers print is not shown: without the autoscaler's
# monitor and the one of logs. With what there would be of a dashboard they take 230 MiB, and 5.6 of
# the 12.9 CPU seconds that a start costs.
LEFT_OUT: dict[str, Any] = {"no_monitor": True, "include_log_monitor": False}


@contextmanager
def lean_ray() -> Iterator[None]:
    """While it lasts, `ray.init` starts no monitors, and nothing of a dashboard that is not shown.

    A Ray whose insides are other than these begins as it always does.
    """
    from ray._private import parameter, services

    put: list[tuple[Any, str, Any]] = []
    with suppress(AttributeError, TypeError, ValueError):
        known = inspect.signature(parameter.RayParams).parameters
        given = {name: value for name, value in LEFT_OUT.items() if name in known}
        put.append((parameter, "RayParams", parameter.RayParams))
        put.append((services, "start_api_server", services.start_api_server))
        ours = functools.partial(parameter.RayParams, **given)
        parameter.RayParams = ours  # type: ignore[misc,assignment]
        services.start_api_server = _start_no_server
    try:
        yield
    finally:
        for module, name, value in put:
            setattr(module, name, value)


def _start_no_server(*_: Any, **__: Any) -> tuple[None, None]:
    """What Ray's own gives where the packages of its dashboard are not installed."""
    return None, None


def end_half_started(spared_pid: int) -> None:
    """End what a Ray that did not come up has left: it would keep its memory until we end."""
    import psutil
    import ray

    home = os.path.dirname(ray.__file__)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            is_of_ray = any(word.startswith((home, "ray::")) for word in process.cmdline())
            if is_of_ray and process.pid != spared_pid:
                process.kill()
