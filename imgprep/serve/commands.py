"""`imgprep serve`: the command's options are the fields of `Settings`."""

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from imgprep.words import number_of, say


def add_serve(commands: Any) -> None:
    """The command `serve` for the parser of `imgprep`."""
    serve = commands.add_parser("serve", help="serve picture functions and an album of pictures over HTTP")
    serve.add_argument(
        "functions",
        nargs="*",
        metavar="MODULE:FUNCTION",
        help="your own functions, beside those that come with imgprep",
    )
    serve.add_argument("--out", default="data/media", help="folder of records and pictures (data/media)")
    serve.add_argument("--pictures", metavar="FOLDER", help="put the pictures of this folder into the album first")
    serve.add_argument("--records", metavar="ADDRESS", help="mongodb://host/db, or a SQLite file")
    serve.add_argument("--store", metavar="URI", help="s3://, az://, gs:// or a folder for the pictures")
    serve.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1: this machine only)")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--workers", type=int, help="processes; one per core unless given")
    serve.add_argument("--timeout-s", type=float, default=20, help="for one picture (20)")
    serve.add_argument("--max-bytes", type=int, default=20_000_000, help="of one upload (20,000,000)")
    serve.add_argument("--keys-file", metavar="FILE", help="lines name:role:sha256, role read or write")
    serve.add_argument("--keys-env", metavar="NAME", help="the variable that holds such lines")
    serve.add_argument("--secrets-env", metavar="NAME", help="the variable with secrets that sign addresses")
    serve.add_argument("--rate", type=float, metavar="N", help="requests a second of one key")
    serve.add_argument("--allow-host", dest="allow_hosts", action="append", default=[], metavar="HOST",
                       help="a host whose pictures ?url= may name")  # fmt: skip
    serve.add_argument("--grpc-port", type=int, metavar="PORT", help="listen for gRPC too")
    serve.add_argument("--upload-bytes", type=int, default=2_000_000_000, help="of an upload in pieces (2e9)")
    serve.add_argument("--keep-metadata", action="store_true", help="keep EXIF and GPS of what is uploaded")
    serve.add_argument("--steps", type=json.loads, default=(), metavar="JSON",
                       help='done with every upload: \'["denoise", {"fit": {"max_side": 800}}]\'')  # fmt: skip
    serve.add_argument("--detect", metavar="MODEL", help="a detector (an ONNX file, a name): operation detect")
    serve.add_argument("--ray", action="store_true", help="on Ray Serve: --workers replicas at most")
    serve.add_argument("--log", default="auto", metavar="KIND",
                       help="of requests: json, short, none (auto: short on a terminal, else json)")  # fmt: skip
    serve.add_argument("--open", dest="is_open", action="store_true", help="listen publicly without keys")
    serve.set_defaults(command=run_serve)


def run_serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    if not options.ray:
        from imgprep.serve.parent import start_parent

        start_parent()  # before the imports below, which take as long as its own
    try:
        from imgprep.serve.server import announce, serve_forever
        from imgprep.serve.service import Settings
    except ModuleNotFoundError as e:
        packages = "fastapi uvicorn python-multipart prometheus-client"
        raise ValueError(f"`imgprep serve` needs {e.name}: python -m pip install {packages}") from None
    given = {k: v for k, v in vars(options).items() if k not in ("command", "functions", "ray")}
    settings = Settings(**given)
    settings.check()
    functions = [function_at(place) for place in options.functions]
    if options.ray:
        from imgprep.serve.ray_serve import serve_on_ray

        announce(f"http://{settings.host}:{settings.port}")
        serve_on_ray(settings, functions)
        return
    serve_forever(settings, functions)


def function_at(place: str) -> Callable:
    """The function `module:name`, the module looked for here too. ValueError where there is none."""
    module, colon, name = place.partition(":")
    if not colon:
        raise ValueError(f"{place!r} names no function: write MODULE:FUNCTION")
    # As `python -m` does, since a console script has its own folder there.
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as e:
        raise ValueError(f"{place!r} cannot be had: {e}") from None


def add_work(commands: Any) -> None:
    """The command `work` for the parser of `imgprep`."""
    work = commands.add_parser("work", help="do what the messages of a Kafka topic ask, until SIGTERM")
    work.add_argument("topic", metavar="TOPIC", help="where messages come from")
    work.add_argument("functions", nargs="*", metavar="MODULE:FUNCTION", help="your own functions")
    work.add_argument("--broker", default="127.0.0.1:9092", metavar="HOST:PORT")
    work.add_argument("--group", default="imgprep", help="workers of one group share the messages")
    work.add_argument("--told", default="media.done", metavar="TOPIC", help="where outcomes are told")
    work.add_argument("--dead", default="media.dead", metavar="TOPIC", help="where unreadable ones go")
    work.add_argument("--source-root", dest="source_roots", action="append", default=[], metavar="URI",
                      help="a folder or URI below which messages may name sources")  # fmt: skip
    work.add_argument("--out", default="data/media", help="folder of records and results (data/media)")
    work.add_argument("--records", metavar="ADDRESS", help="mongodb://host/db, or a SQLite file")
    work.add_argument("--store", metavar="URI", help="s3://, az://, gs:// or a folder for the results")
    work.add_argument("--workers", type=int, help="processes; one per core unless given")
    work.add_argument("--timeout-s", type=float, default=20, help="for one picture (20)")
    work.add_argument("--until-end", action="store_true", help="stop at the end of the topic")
    work.set_defaults(command=run_work)


def run_work(options: argparse.Namespace) -> None:
    """Work until SIGTERM, Ctrl-C, or the end of the topic; the batch in work is finished."""
    try:
        from imgprep.serve import events
        from imgprep.serve.service import Service, Settings
    except ModuleNotFoundError as e:
        packages = "fastapi prometheus-client confluent-kafka"
        raise ValueError(f"`imgprep work` needs {e.name}: python -m pip install {packages}") from None
    names = ("out", "records", "store", "workers", "timeout_s", "source_roots")
    settings = Settings(**{name: getattr(options, name) for name in names})
    service = Service(settings, [function_at(place) for place in options.functions])
    service.start()
    topics = events.Topics(options.topic, options.told, options.dead)
    worker = events.Worker(service, options.broker, topics, options.group)

    def stop(*given: Any) -> None:
        worker.is_stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        counts = asyncio.run(worker.work(until_end=options.until_end))
    finally:
        worker.close()
        service.close()
    say(f"{counts.ok} done, {counts.failed} failed, {counts.letters} dead letters")


def add_backup(commands: Any) -> None:
    """The commands `backup` and `restore` for the parser of `imgprep`."""
    for name, told in (("backup", "copy a service into a folder"), ("restore", "put a backup into a service")):
        one = commands.add_parser(name, help=told)
        one.add_argument("folder", metavar="FOLDER", help="of the backup")
        one.add_argument("--out", default="data/media", help="folder of the service (data/media)")
        one.add_argument("--records", metavar="ADDRESS", help="mongodb://host/db, or a SQLite file")
        one.add_argument("--store", metavar="URI", help="s3://, az://, gs:// or a folder")
        one.set_defaults(command=run_backup if name == "backup" else run_restore)


def run_backup(options: argparse.Namespace) -> None:
    from imgprep.io.stores import Store
    from imgprep.serve.backup import back_up
    from imgprep.serve.records import open_records

    records = open_records(options.records or f"{options.out}/media.db")
    counts = back_up(Store(options.store or f"{options.out}/store"), records, options.folder)
    gone = f", {counts['gone']} deleted meanwhile" if counts["gone"] else ""
    records_kept = number_of(counts["records"], "record")
    objects_kept = number_of(counts["objects"], "object")
    say(f"{records_kept}, {objects_kept} ({counts['copied']:,} new{gone})")


def run_restore(options: argparse.Namespace) -> None:
    from imgprep.io.stores import Store
    from imgprep.serve.backup import restore
    from imgprep.serve.records import open_records

    records = open_records(options.records or f"{options.out}/media.db")
    counts = restore(options.folder, Store(options.store or f"{options.out}/store"), records)
    records_kept = number_of(counts["records"], "record")
    stay = f"; {number_of(counts['kept'], 'record')} of the service changed since, and stay" if counts["kept"] else ""
    say(f"restored {records_kept} and {number_of(counts['objects'], 'object')}{stay}")
