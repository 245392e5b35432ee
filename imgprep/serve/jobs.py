"""Steps of an object as a job: begun by an answer of 202,
done in the background, asked for by its id.

A job's id is the hash of its steps and its object: to ask twice is to ask once. What a stopped
server left is taken up again when it starts; but options that hold a secret are not written down,
so such a job waits until it is asked for again.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from imgprep.hashing import digest
from imgprep.redaction import redact, redact_values
from imgprep.serve import segmenting, transcoding
from imgprep.serve.answers import Refusal, Result, read_json
from imgprep.serve.operations import checked, job_id
from imgprep.serve.places import is_film
from imgprep.serve.programs import Tell
from imgprep.serve.records import all_records
from imgprep.serve.refusals import OUTAGE_S, OUTAGES
from imgprep.serve.service import Service

JobStep = tuple[str, dict[str, Any]]
LONGEST_WAIT_S = 60.0  # between tries while records or store are away
# Steps that are no operations but a process of their own: what checks their options, what runs it.
PROGRAMS: dict[str, tuple[Callable, Callable]] = {
    segmenting.NAME: (segmenting.checked_options, segmenting.segment_outcome),
    transcoding.TRANSCODE: (transcoding.ladder_options, transcoding.ladder_outcome),
}


def read_steps(service: Service, given: Any) -> list[JobStep]:
    """`["denoise", {"fit": {"max_side": 800}}]` as names and checked options.

    Refusal where it is none.
    """
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise Refusal("wrong_option", 'steps is a list: ["denoise", {"fit": {"max_side": 800}}]')
    found = []
    for one in given:
        if isinstance(one, str):
            one = {one: {}}
        if not isinstance(one, dict) or len(one) != 1:
            raise Refusal(
                "wrong_option", f"a step is a name, or one name with its options, not {str(one)[:80]!r}"
            )
        ((name, options),) = one.items()
        if not isinstance(options or {}, dict):
            raise Refusal("wrong_option", f"the options of a step are an object, not {str(options)[:80]!r}")
        if name in PROGRAMS:
            found.append((name, PROGRAMS[name][0](options or {})))
            continue
        found.append((name, checked(service.operation(name), options or {})))
    return found


def usual_steps(service: Service) -> list[JobStep]:
    """What is done with every upload. ValueError where the service's settings name no such step."""
    given = service.settings.steps
    try:
        return read_steps(service, list(given)) if given else []
    except Refusal as refusal:
        raise ValueError(f"steps: {refusal.sentence}") from None


def new_job(name: str, steps: list[JobStep]) -> dict[str, Any]:
    """The record of a job that has not begun. is_hidden: its options are not all in it."""
    shown = [redact_values(options) for _, options in steps]
    is_hidden = json.dumps(shown) != json.dumps([options for _, options in steps])
    outcomes = [
        {"op": op, "options": options, "status": "queued"}
        for (op, _), options in zip(steps, shown, strict=True)
    ]
    record = {"kind": "job", "status": "queued", "object": name, "steps": outcomes}
    return record | ({"is_hidden": True} if is_hidden else {})


class Jobs:
    """The jobs of a service, done one after another per object, several objects at once."""

    def __init__(self, service: Service, *, at_once: int = 8):
        self.service = service
        self.usual = usual_steps(service)
        self._turns = asyncio.Semaphore(at_once)
        # A ladder keeps a core busy for minutes: one at a time, and no picture waits for it.
        self._film_turns = asyncio.Semaphore(1)
        self._tasks: dict[str, asyncio.Task] = {}

    def steps_of(self, asked: str | None) -> list[JobStep]:
        """The steps of an upload: those of the service where it asks for none by itself.

        asked: a JSON list, or names with commas between them; "" is none.
        """
        if asked is None:
            return self.usual
        if not asked.strip():
            return []
        if not asked.startswith("["):
            return read_steps(self.service, [name.strip() for name in asked.split(",")])
        try:
            return read_steps(self.service, read_json(asked))
        except ValueError:
            raise Refusal("wrong_option", "steps: no JSON list, and no names with commas") from None

    async def begin(self, name: str, steps: list[JobStep]) -> dict[str, str]:
        """Begin the steps of an upload: where its job is, or nothing where there are none.

        Of what is done with every upload a picture is not transcoded.
        """
        if steps is self.usual and any(op == transcoding.TRANSCODE for op, _ in steps):
            record = await self.service.objects.record(name)
            steps = [one for one in steps if is_film(record) or one[0] != transcoding.TRANSCODE]
        if not steps:
            return {}
        job, _ = await self.add(name, steps)
        return {"job": f"/v1/jobs/{job}"}

    async def resume(self) -> None:
        """Take up what was queued when the last server ended."""
        records = await asyncio.to_thread(list, all_records(self.service.records, "job"))
        for record in records:
            # Of a hidden job the options are in nobody's hands but the client's.
            if record["status"] == "queued" and not record.get("is_hidden"):
                options = [step["options"] for step in record["steps"]]
                self._start(record["id"], record, options)

    async def add(self, name: str, steps: list[JobStep]) -> tuple[str, dict[str, Any]]:
        """A job for an object: its id and its record. One that is there with its results stays."""
        await self.service.objects.record(name)
        job = digest("steps", steps, name)
        known = await self._get(job)
        is_lost = known is not None and not await self._has_results(known)
        if is_lost:
            known = None
        if known is not None and not (known.get("is_hidden") and known["status"] == "queued"):
            return job, known
        record = known or new_job(name, steps)
        if known is None:
            await self._put(job, record)
        if job not in self._tasks:
            self._start(job, record, [options for _, options in steps])
        return job, record

    async def _has_results(self, record: dict[str, Any]) -> bool:
        """Is what a job made still there? With an object that is deleted its results go."""
        for step in record["steps"]:
            addresses = [step.get("result"), *step.get("results", {}).values()]
            for address in filter(None, addresses):
                if await self._get(address.split("/")[3]) is None:
                    return False
        return True

    async def find(self, job: str) -> dict[str, Any]:
        """Refusal (missing_file) where there is none."""
        known = await self._get(job)
        if known is None or known["kind"] != "job":
            raise Refusal("missing_file", "there is no such job")
        return known

    def _start(self, job: str, record: dict[str, Any], options: list[dict[str, Any]]) -> None:
        task = asyncio.create_task(self._do(job, record, options))
        self._tasks[job] = task  # the loop itself holds no reference
        task.add_done_callback(lambda done: self._tasks.pop(job, None))

    async def _do(self, job: str, record: dict[str, Any], options: list[dict[str, Any]]) -> None:
        """Every step that is not done, as soon as records and store are there."""
        wait_s = float(OUTAGE_S)
        is_long = any(step["op"] == transcoding.TRANSCODE for step in record["steps"])
        async with self._film_turns if is_long else self._turns:
            while True:
                try:
                    return await self._do_steps(job, record, options)
                except OUTAGES:
                    # No step's fault: a minute without records would leave it failed for ever.
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _do_steps(
        self, job: str, record: dict[str, Any], options: list[dict[str, Any]]
    ) -> None:
        """One step that fails leaves the others."""
        for step, given in zip(record["steps"], options, strict=True):
            if step["status"] == "queued":
                step |= await self._outcome(job, record, step, given)
                await self._put(job, record)
        failed = [s for s in record["steps"] if s["status"] == "failed"]
        await self._put(job, record | {"status": "failed" if failed else "ok"})

    async def _outcome(
        self, job: str, record: dict[str, Any], step: dict[str, Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        """What comes of a step: status, reason, error, and where its result is."""
        try:
            if step["op"] in PROGRAMS:
                run = PROGRAMS[step["op"]][1]
                tell = self._teller(job, record, step)
                return await run(self.service.objects, record["object"], options, tell)
            return await self._made(record["object"], step["op"], options)
        except Refusal as refusal:
            return {"status": "failed", **refusal.body()}
        except FileNotFoundError:
            told = "its bytes are not in the store"
            return {"status": "failed", "reason": "missing_file", "error": told}

    def _teller(self, job: str, record: dict[str, Any], step: dict[str, Any]) -> Tell:
        async def tell(line: str) -> None:
            step["progress"] = redact(line)
            await self._put(job, record)

        return tell

    async def _made(self, name: str, op: str, options: dict[str, Any]) -> dict[str, Any]:
        """A picture operation: kept under the same id as by its address."""
        key = self.service.operation(op).key
        result_id = job_id(key, options | {"format": "PNG", "quality": None}, name)

        async def make(data: bytes) -> Result:
            return await self.service.run(op, data, options, "PNG", None)

        result = await self.service.objects.result(name, result_id, make)
        return {
            "status": "ok",
            "reason": "",
            "error": "",
            "result": f"/v1/results/{result_id}",
            "media_type": result.media_type,
        }

    async def close(self) -> None:
        """Stop; what is not done is queued still."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _get(self, job: str) -> dict[str, Any] | None:
        return await asyncio.to_thread(self.service.records.get, job)

    async def _put(self, job: str, record: dict[str, Any]) -> None:
        await asyncio.to_thread(self.service.records.put, job, record)
