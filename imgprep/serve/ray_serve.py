"""The same app on Ray Serve, where one machine is not enough:
`imgprep serve --ray`, or a RayService.

Every replica is a service of its own with one losable worker; records and store are what they
share, so both must be reached from every machine. Rates and counters are per replica; uploads in
pieces lie in the folder `out`, which replicas of one machine share, and others where it is on a disk
that all have. What is not shared is said when it starts.
"""

import os
import secrets
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import cloudpickle

from imgprep.engine import cluster
from imgprep.engine.session import session
from imgprep.project import absolute
from imgprep.serve.commands import function_at
from imgprep.serve.server import STOP_S, asgi
from imgprep.serve.service import Service, Settings
from imgprep.words import say

SECRETS_NAME = "IMGPREP_REPLICA_SECRETS"
# A replica holds one worker: one picture in work, one that waits for it, and two that are read.
DEPLOYED: dict[str, Any] = {
    "max_ongoing_requests": 8,
    "max_queued_requests": 64,
    "graceful_shutdown_timeout_s": STOP_S,
    "ray_actor_options": {"num_cpus": 1},
}


class Replica:
    """One service in a process of Ray.

    Functions: pickled, for those of a notebook have no module.
    """

    def __init__(self, settings: Settings, functions: bytes):
        self.service = Service(replace(settings, workers=1), cloudpickle.loads(functions))

    def __serve_build_asgi_app__(self) -> Callable:
        self.service.start()
        return asgi(self.service)

    def __del__(self) -> None:
        if hasattr(self.service, "pool"):
            self.service.close()


def not_shared(settings: Settings) -> str:
    """What replicas do not know of each other, in a sentence."""
    own = ["uploads in pieces"]
    own += [name for name in ("records", "store") if getattr(settings, name) is None]
    told = f"{', '.join(own)} lie in {settings.out}: that is one folder for all replicas or for none"
    if settings.rate is not None:
        told += f"; a key may ask {settings.rate:g} times a second of each replica"
    return told


def deployed(settings: Settings, functions: Sequence[Callable], most: int) -> Any:
    """The application for `serve.run`: from one replica to so many, as requests come."""
    from ray import serve

    settings.check()
    if settings.pictures is not None:
        told = "every replica would put the same pictures"
        raise ValueError(f"{told}: put them by imgprep serve --pictures, with this records and store")
    if most > 1:
        say(not_shared(settings))
    scaling = {"min_replicas": 1, "max_replicas": most, "target_ongoing_requests": 2}
    ingress = serve.ingress()(Replica)
    made: Any = serve.deployment(ingress, name="Media", autoscaling_config=scaling, **DEPLOYED)
    return made.bind(settings, cloudpickle.dumps(list(functions)))


def application(args: dict[str, Any]) -> Any:
    """For a RayService: its `import_path` names this,
    its `args` are settings, `functions`, `replicas`.

    functions: a list of MODULE:FUNCTION. Raises ValueError for an unknown setting, without keys
    unless `is_open` is said (a cluster's proxies listen on every address), and for keys without
    `secrets_env`: an address that one replica signs is asked of another.
    """
    given = dict(args)
    functions = [function_at(place) for place in given.pop("functions", [])]
    most = int(given.pop("replicas", 8))
    known = [field.name for field in fields(Settings)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"no setting {unknown[0]!r}; there are: {', '.join(known)}")
    settings = Settings(**{"host": "0.0.0.0", **given})
    settings.check()
    if most > 1 and not settings.is_open and not settings.secrets_env:
        raise ValueError("replicas sign addresses alike: name secrets_env")
    return deployed(settings, functions, most)


def serve_on_ray(settings: Settings, functions: Sequence[Callable]) -> None:
    """Serve until SIGTERM or Ctrl-C, on the cluster of RAY_ADDRESS or a Ray of this machine.

    Raises ValueError without Ray Serve, RuntimeError where Ray does not start.
    """
    # Ray's own proxy moves a body through Python twice; HAProxy comes with ray[serve].
    os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1")
    os.environ.setdefault(SECRETS_NAME, secrets.token_hex(32))
    try:
        from ray import serve
    except ImportError as e:
        raise ValueError(f"--ray needs {e.name}: python -m pip install 'ray[serve]'") from None
    most = settings.workers or os.cpu_count() or 1
    place = absolute(settings.out) if "://" not in settings.out else settings.out
    # Replicas sign alike; processes of Ray on this machine inherit the variable.
    signing = settings.secrets_env or SECRETS_NAME
    shared = replace(settings, out=place, secrets_env=signing, grpc_port=None)
    application = deployed(shared, functions, most)
    # What serves needs a core more than what it serves.
    session("ray", workers=most + 1)
    cluster.start_ray()
    ended = threading.Event()
    # Ray has handlers of its own by now, which end the process before the replicas.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *given: ended.set())
    listen = {"host": settings.host, "port": settings.port}
    try:
        serve.start(http_options=listen)
        serve.run(application, name="imgprep", route_prefix="/")
        say(f"{most} replicas at most; Ctrl-C ends them")
        ended.wait()
    finally:
        # Before Ray: replicas finish what they have.
        serve.shutdown()
        cluster.stop_ray()
