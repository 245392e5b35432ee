"""What an export that was killed left beside its place. Run as a program it waits for that, and
tidies up.

`python leftovers.py HOLDER TARGET`: when the process that holds the other end of the pipe ends,
however it ends, the holder goes. Only the standard library: it has to start at once.
"""

import os
import shutil
import sys


def settle(holder: str, target: str) -> None:
    """Remove the folder `holder`. An export that was moved aside for a new one that is whole is
    replaced by that."""
    is_half_moved = os.path.exists(f"{holder}/old") and not os.path.exists(target)
    if is_half_moved and os.path.exists(f"{holder}/new"):
        os.rename(f"{holder}/new", target)
    shutil.rmtree(holder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    settle(*sys.argv[1:])
