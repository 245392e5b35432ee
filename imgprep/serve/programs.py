"""Work that is too long for a request: a process of its own, with its progress told line by line.

The program prints what it does, and last a line of JSON, {"row": {"status", "reason", "error"}}.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from imgprep.serve.answers import Refusal

Tell = Callable[[str], Any]
MOST_LINE_CHARS = 200


async def run_program(module: str, words: list[str], tell: Tell, *, silence_s: float | None = None) -> dict[str, Any]:
    """Run `python -m module words`; the row that it prints. It is killed where the caller stops.

    tell: gets each line of progress. silence_s: it is ended when it says nothing for so long.
    Refusal with the row's reason, with took_too_long or crashed.
    """
    # A process, since a thread cannot be ended: GDAL and FFmpeg may hang in C.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # 1 MiB: a row of a segmentation is one line.
        limit=1 << 20,
    )
    try:
        row = await _followed(process, tell, silence_s)
    finally:
        # Also after success: a program that printed its row has nothing more to say.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if row["status"] != "ok":
        raise Refusal(row["reason"], row["error"])
    return row


async def _followed(process: asyncio.subprocess.Process, tell: Tell, silence_s: float | None) -> dict[str, Any]:
    """The row that the program prints last; every other line is progress."""
    row: dict[str, Any] | None = None
    assert process.stdout is not None
    while True:
        try:
            # Silence and not duration: a film of two hours is allowed to take them.
            async with asyncio.timeout(silence_s):
                raw = await process.stdout.readline()
        except TimeoutError:
            told = f"the process gave no sign of life for {silence_s:g} s"
            raise Refusal("took_too_long", told) from None
        if not raw:
            break
        line = raw.decode("utf-8", "replace").strip()
        if line.startswith('{"row"'):
            row = json.loads(line)["row"]
        elif line:
            await tell(line[:MOST_LINE_CHARS])
    await process.wait()
    if row is None:
        raise Refusal("crashed", f"the process died on it (exit code {process.returncode})")
    return row
