"""The function you tried in a cell, behind REST, gRPC and events:
`serve.start(warm)`, or `imgprep serve`.
"""

from importlib import import_module
from typing import Any

# Lazy: the names a notebook uses, and where they stand. The web framework is loaded when it is
# needed.
NAMES = {
    "start": "server",
    "Settings": "service",
    "Client": "remote",
    "Topics": "events",
    "catch_up": "events",
    "practice_broker": "practice",
    "send_messages": "practice",
    "read_topic": "practice",
    "table": "album",
}


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(import_module(f"imgprep.serve.{NAMES[name]}"), name)
    raise AttributeError(f"module 'imgprep.serve' has no attribute {name!r}")
