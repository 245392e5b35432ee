"""A folder of pictures into the album while a service starts; what is there already stays as it is."""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from imgprep.serve.answers import Refusal
from imgprep.serve.jobs import Jobs
from imgprep.serve.objects import SMALL_BYTES
from imgprep.serve.refusals import OUTAGES, outage
from imgprep.serve.service import Service
from imgprep.words import number_of, say

FILES_AT_ONCE = 4
NEW_HERE = "taken"
KNOWN_HERE = "there already"


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and those below it, in order; no hidden ones."""
    for home, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(home, name) for name in sorted(names) if not name.startswith("."))


async def take_folder(service: Service, jobs: Jobs, folder: Path) -> Counter[str]:
    """Every file as if it had been uploaded under its path below the folder; the files stay.

    A file that is no picture costs nothing but its reason. Says, and gives, how many were taken,
    were there, and were refused for each reason.
    """
    counts: Counter[str] = Counter()
    waiting = files_below(folder)

    async def take_some() -> None:
        # Each takes the next: a million files are never a million tasks.
        for path in waiting:
            counts[await _file_outcome(service, jobs, path, str(path.relative_to(folder)))] += 1

    await asyncio.gather(*[take_some() for _ in range(FILES_AT_ONCE)])
    refused = [f"{reason} {count:,}" for reason, count in counts.most_common()]
    say(f"{number_of(counts.total(), 'file')} of {folder}: {', '.join(refused) or 'nothing'}")
    return counts


async def _file_outcome(service: Service, jobs: Jobs, path: Path, called: str) -> str:
    """What became of a file: taken, there already, or a reason. Waits while others keep it busy."""
    while True:
        try:
            name, is_new = await _put_path(service, path, called)
            if is_new:
                await jobs.begin(name, jobs.usual)
            return NEW_HERE if is_new else KNOWN_HERE
        except OUTAGES as e:
            refusal = outage(e)
        except Refusal as e:
            refusal = e
        if refusal.reason != "busy":
            return refusal.reason
        await asyncio.sleep(refusal.retry_after_s or 1)


async def _put_path(service: Service, path: Path, called: str) -> tuple[str, bool]:
    if path.stat().st_size <= SMALL_BYTES:
        name, _, is_new = await service.objects.put_file(path, called=called)
        return name, is_new
    # Of a large file the album may keep a second name for the same bytes: not of somebody's own,
    # who may write into it.
    with tempfile.TemporaryDirectory(prefix="taking-", dir=service.settings.out) as home:
        copy = Path(home, "source")
        await asyncio.to_thread(shutil.copyfile, path, copy)
        name, _, is_new = await service.objects.put_file(copy, called=called)
        return name, is_new
