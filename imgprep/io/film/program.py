"""The ladder of one film in a process that may be lost: its progress told, its memory bounded.

`python -m imgprep.io.film.program SOURCE OUT OPTIONS` makes the folder OUT, prints how far it is,
and last a line of JSON: {"row": {"status", "reason", "error", …}}.
"""

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imgprep.failures import Failure
from imgprep.io.film.facts import checked_note
from imgprep.io.film.ladder import Ladder
from imgprep.io.film.reel import Reel
from imgprep.io.film.wishes import ladder_wish
from imgprep.picture import codec

LADDER_MEMORY_BYTES = 6 << 30
TELL_S = 1.0


def make_ladder() -> None:
    """Make the ladder of one film; the last line is its row."""
    source, out, options = sys.argv[1:]
    os.nice(10)  # requests come first
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (LADDER_MEMORY_BYTES, LADDER_MEMORY_BYTES))
    try:
        row = _made(source, out, json.loads(options))
    except Failure as e:
        row = {"status": "failed", "reason": e.reason, "error": str(e)}
    except MemoryError:
        told = f"it takes more than {LADDER_MEMORY_BYTES >> 30} GiB"
        row = {"status": "failed", "reason": "too_much_memory", "error": told}
    except OSError as e:
        row = {"status": "failed", "reason": "error", "error": e.strerror or type(e).__name__}
    except ValueError as e:
        row = {"status": "failed", "reason": "error", "error": str(e)}
    print(json.dumps({"row": row}), flush=True)


def _made(source: str, out: str, options: dict[str, Any]) -> dict[str, Any]:
    """The ladder in the folder `out`, which is made; the facts of it."""
    keep_truncated = bool(options.pop("keep_truncated", False))
    wish = ladder_wish(**options)
    folder = Path(out)
    folder.mkdir()
    with (
        open(source, "rb") as file,
        Reel(file, threads=os.cpu_count() or 1, max_pixels=codec.MAX_PIXELS) as reel,
    ):
        reel.on_packet = _teller(reel)
        made = Ladder(reel, out, wish).write()
        note = checked_note(reel, keep_truncated=keep_truncated)
    poster = codec.encode(made.poster, "JPEG", quality=90)
    (folder / "poster.jpg").write_bytes(poster)
    facts = {name: value for name, value in dataclasses.asdict(made).items() if name != "poster"}
    return {"status": "ok", "reason": "", "error": "", "note": note, **facts}


def _teller(reel: Reel) -> Callable[[], None]:
    """Says once a second how many of the film's seconds are done."""
    whole_s = (reel.container.duration or 0) / 1e6
    of = f" of {whole_s:.0f}" if whole_s else ""
    last = 0.0

    def tell() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < TELL_S or reel.seen_pts is None:
            return
        last = now
        print(f"{reel.seconds(reel.seen_pts):.0f}{of} s", flush=True)

    return tell


if __name__ == "__main__":
    make_ladder()
