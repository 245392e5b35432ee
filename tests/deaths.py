"""`kill -9` at a share of a job's run, as a program: `python deaths.py JOB SHARES CALL CALL …`.

Each CALL is JSON: the arguments of one run of the job, in a process of its own. The first one is not
killed, and says how many calls of functions it took; the others are killed after their share of that.
Prints how each ended, as JSON: an exit code, -9 where it was killed.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 300


def export(source: str, place: str, form: str) -> None:
    from imgprep import exports

    exports.export(source, place, form)


def upload(source: str, target: str, out: str) -> None:
    import imgprep
    from imgprep.stages import upload

    imgprep.session("local", workers=0)
    upload.upload(source, target, out)


def publish(folder: str, repo: str) -> None:
    from imgprep import publish

    publish.publish(folder, repo, licence="cc0-1.0", tag="v1")


def ends(job: str, shares: list[float], calls: list[list[str]], **environment: str) -> list[int]:
    """How the runs ended that were killed after these shares of the first, which was not."""
    here = Path(__file__)
    env = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, str(here), job, json.dumps(shares), *map(json.dumps, calls)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *killed = json.loads(done.stdout.splitlines()[-1])
    assert first == 0 and len(killed) == len(shares), done.stderr[-3000:]
    return killed


def _run(job: str, call: list[str], most: int, told: int) -> None:
    """The job in this process, which is killed at its call number `most`; 0: never."""
    seen = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal seen
        if not event.endswith("call"):
            return
        seen += 1
        if seen == most:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    globals()[job](*call)
    sys.setprofile(None)
    os.write(told, str(seen).encode())


def _ended(job: str, call: list[str], most: int) -> tuple[int, int]:
    """(how it ended, the calls that it took)"""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            _run(job, call, most, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as told:
        seen = int(told.read() or 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


def main() -> None:
    job, shares, first, *others = sys.argv[1:]
    code, total = _ended(job, json.loads(first), 0)
    codes = [code]
    for share, call in zip(json.loads(shares), others, strict=True):
        codes.append(_ended(job, json.loads(call), int(share * total))[0])
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
