"""Operations by event: messages of a Kafka topic are done like requests,
their outcome told in another topic.

A message is JSON: {"op": "fit", "options": {…}, "source": URI}, or with "data_base64"; of a
CloudEvent its `data`. A message's offset is stored when its result is stored and told, so a killed
worker loses nothing; a job's id is the hash of what it does, so a message that comes again is told
once. What cannot be read, and what kills its worker, goes to the dead-letter topic with the reason.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from imgprep.hashing import digest
from imgprep.io import uris
from imgprep.io.uris import SourceError
from imgprep.project import absolute
from imgprep.redaction import redact, redact_url
from imgprep.serve.answers import Refusal, Result, read_json
from imgprep.serve.objects import ID
from imgprep.serve.operations import MEDIA_TYPES, checked, job_id
from imgprep.serve.places import result_place
from imgprep.serve.records import FINISHED
from imgprep.serve.service import Service, Settings

BATCH = 50
ALONE = "-alone"  # behind a job, in the records: how often it was begun with no other beside it
USUAL_FORMAT = "PNG"  # of a result, where a message names none
MESSAGE_TRIES = 3  # of a message that ends the whole worker
FLUSH_S = 20
LOST = ("crashed", "timeout", "too_much_memory")


@dataclass(frozen=True)
class Topics:
    """Where messages come from, where outcomes are told,
    where letters go that nobody could read.
    """

    source: str = "media.in"
    told: str = "media.done"
    dead: str = "media.dead"


TOPICS = Topics()


@dataclass
class Counts:
    """What a worker did."""

    ok: int = 0
    failed: int = 0
    letters: int = 0
    again: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """What will be told of a message."""

    topic: str
    key: str
    value: dict[str, Any]


def read_message(value: bytes | None) -> dict[str, Any]:
    """A message's op, options, and source or data. Raises ValueError."""
    given = read_json(value or b"")
    if isinstance(given, dict) and "specversion" in given:
        given = given.get("data")
    if not isinstance(given, dict) or not isinstance(given.get("op"), str):
        raise ValueError('a message is {"op": …, "options": {…}, "source": …}')
    if not isinstance(given.get("options", {}), dict):
        raise ValueError("options is an object")
    if not isinstance(given.get("source", given.get("data_base64")), str):
        raise ValueError("source is a URI (or data_base64 the picture itself)")
    return given


def other_format(asked: dict[str, Any]) -> list[str]:
    """The format of the result where it is not the usual one: [] or ["JPEG"].

    >>> other_format({"format": "jpeg"}), other_format({"format": "PNG"}), other_format({})
    (['JPEG'], [], [])
    """
    format = str(asked.get("format", USUAL_FORMAT)).upper()
    return [] if format == USUAL_FORMAT else [format]


def is_below(source: str, root: str) -> bool:
    """Does a path or URI stay below a root, dots and all?

    >>> is_below("/in/a.jpg", "/in"), is_below("/in/../etc/x", "/in"), is_below("s3://b/a", "s3://b")
    (True, False, True)
    """
    if "://" in source or "://" in root:
        return ".." not in source.split("/") and source.startswith(f"{root.rstrip('/')}/")
    return not uris.inside_folder(source, absolute(root)).startswith(uris.OUTSIDE)


def consumer_settings(broker: str, group: str) -> dict[str, Any]:
    """Of librdkafka, for a worker that loses no message and does none twice."""
    return {
        "bootstrap.servers": broker,
        "group.id": group,
        "auto.offset.reset": "earliest",
        # Offsets are stored by us, after the result; librdkafka commits them in the background.
        "enable.auto.offset.store": False,
        "enable.auto.commit": True,
        "auto.commit.interval.ms": 500,
        "enable.partition.eof": True,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1500,
        "max.poll.interval.ms": 300_000,
    }


SUSPECT = Event("", "", {})  # of a message that has been begun with others too often


def event_record(
    status: str, job: str, asked: dict[str, Any], reason: str, error: str
) -> dict[str, Any]:
    """What is known of a message's job."""
    known = {"kind": "event", "status": status, "reason": reason, "error": redact(error)}
    return known | {"op": redact(asked["op"]), "source": redact_url(asked.get("source", ""))}


class Worker:
    """One member of a group that works on a topic."""

    def __init__(self, service: Service, broker: str, topics: Topics, group: str = "imgprep"):
        self.service = service
        self.topics = topics
        self.counts = Counts()
        self.is_stopping = False
        self._ends: set[int] = set()
        self._consumer = Consumer(consumer_settings(broker, group))
        self._producer = Producer(
            {"bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 5}
        )
        # An end that was seen before the partitions were dealt anew says nothing.
        anew: Callable = lambda consumer, partitions: self._ends.clear()  # noqa: E731
        self._consumer.subscribe([topics.source], on_assign=anew, on_revoke=anew)

    async def work(self, *, until_end: bool = False) -> Counts:
        """Until `is_stopping`, or the end of every partition. What is begun is finished."""
        while not self.is_stopping:
            messages = self._messages(await asyncio.to_thread(self._consumer.consume, BATCH, 0.5))
            if messages:
                await asyncio.to_thread(self._tell, await self._outcomes(messages))
                self._store_offsets(messages)
            elif until_end and self._is_at_end():
                break
        return self.counts

    def close(self) -> None:
        """Commit what is stored and leave the group."""
        self._consumer.close()
        self._producer.flush(FLUSH_S)

    def _messages(self, polled: list[Any]) -> list[Any]:
        found = []
        for message in polled:
            error = message.error()
            if error is None:
                found.append(message)
                self._ends.discard(message.partition())
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ends.add(message.partition())
            elif not error.retriable():
                raise KafkaException(error)
        return found

    def _is_at_end(self) -> bool:
        """By the broker's word for each partition we have; some brokers' watermarks are wrong."""
        mine = {partition.partition for partition in self._consumer.assignment()}
        return bool(mine) and mine <= self._ends

    def _store_offsets(self, messages: list[Any]) -> None:
        mine = {(p.topic, p.partition) for p in self._consumer.assignment()}
        for message in messages:
            if (message.topic(), message.partition()) in mine:
                self._consumer.store_offsets(message)

    def _tell(self, events: list[Event]) -> None:
        """Tell, wait until the broker has it, and only then write down that it is told."""
        for event in events:
            self._producer.produce(event.topic, json.dumps(event.value).encode(), key=event.key)
        if self._producer.flush(FLUSH_S):
            raise RuntimeError("the broker takes no events: run it again when it does")
        for event in events:
            known = self.service.records.get(event.key)
            if known is not None:
                self.service.records.put(event.key, known | {"told": True})

    async def _outcomes(self, messages: list[Any]) -> list[Event]:
        """Of messages that are done together, and then of each suspect alone.

        A worker that ends takes fifty messages along, and most of them had no part in it.
        """
        found = await asyncio.gather(*map(self._done, messages))
        for number, message in enumerate(messages):
            if found[number] is SUSPECT:
                found[number] = await self._done(message, alone=True)
        return [event for event in found if event is not None]

    async def _done(self, message: Any, *, alone: bool = False) -> Event | None:
        """Do what a message asks; None where that has been done and told, SUSPECT where it is to be done alone."""
        try:
            asked = read_message(message.value())
        except ValueError as e:
            job = digest("letter", (message.value() or b"").hex())
            return await self._letter(message, job, "bad_message", str(e))
        source = asked.get("source", asked.get("data_base64"))
        job = digest("event", asked["op"], asked.get("options", {}), source, *other_format(asked))
        tries = await self._records("claim", job)
        if tries == FINISHED:
            return await self._told_again(message, job)
        if tries > MESSAGE_TRIES and not alone:
            return SUSPECT
        if alone and await self._records("claim", f"{job}{ALONE}") > MESSAGE_TRIES:
            told = f"begun {MESSAGE_TRIES} times alone, never finished"
            return await self._letter(message, job, "crashed", told)
        try:
            record = await self._result(job, asked)
        except Refusal as refusal:
            if refusal.reason in LOST:
                return await self._letter(message, job, refusal.reason, refusal.sentence)
            record = event_record("failed", job, asked, refusal.reason, refusal.sentence)
        except SourceError as e:
            record = event_record("failed", job, asked, e.reason, str(e))
        self._count(record)
        await self._records("put", job, record)
        if alone:
            await self._records("delete", f"{job}{ALONE}")
        return Event(self.topics.told, job, {"job": job, **record})

    async def _result(self, job: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The record of a result that is in the store."""
        operation = self.service.operation(asked["op"])
        options = checked(operation, asked.get("options", {}))
        (format,) = other_format(asked) or [USUAL_FORMAT]
        if format not in MEDIA_TYPES:
            raise Refusal("wrong_option", f"format: one of {', '.join(MEDIA_TYPES)}")
        data = await self._data(asked)
        result: Result = await self.service.run(operation.name, data, options, format, None)
        place = result_place(job_id(operation.key, options, job))
        await asyncio.to_thread(
            self.service.store.put, place, result.body, content_type=result.media_type
        )
        record = event_record("ok", job, asked, "", "")
        return record | {
            "place": place,
            "media_type": result.media_type,
            "nbytes": len(result.body),
        }

    async def _data(self, asked: dict[str, Any]) -> bytes:
        most = self.service.settings.max_bytes
        if "data_base64" in asked:
            try:
                return base64.b64decode(asked["data_base64"], validate=True)
            except ValueError:
                raise Refusal("corrupt", "data_base64 is not base64") from None
        source = asked["source"]
        if ID.fullmatch(source):
            return (await self.service.objects.picture(source)).body
        # Whoever may send a message must not read any file of this machine by it.
        if not any(is_below(source, root) for root in self.service.settings.source_roots):
            raise Refusal("no_permission", "the source is no object's id, and below no source root")
        return await asyncio.to_thread(uris.read_bytes, source, max_bytes=most)

    async def _told_again(self, message: Any, job: str) -> Event | None:
        """A message whose job is finished: its outcome, where nobody was told of it."""
        self.counts.again += 1
        known = await self._records("get", job)
        if known.get("told"):
            return None
        if known["reason"] in LOST or known["reason"] == "bad_message":
            return await self._letter(message, job, known["reason"], known["error"])
        return Event(self.topics.told, job, {"job": job, **known})

    async def _letter(self, message: Any, job: str, reason: str, error: str) -> Event | None:
        """A message for the dead-letter topic, with where it came from."""
        known = await self._records("get", job)
        if known is not None and known.get("told"):
            return None
        self.counts.letters += 1
        self.service.metrics.events.labels(reason).inc()
        told = {"reason": reason, "error": redact(error)}
        await self._records("put", job, {"kind": "event", "status": "failed", **told})
        place = {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "value": (message.value() or b"").decode("latin1"),
        }
        return Event(self.topics.dead, job, told | place)

    def _count(self, record: dict[str, Any]) -> None:
        if record["status"] == "ok":
            self.counts.ok += 1
        else:
            self.counts.failed += 1
        self.counts.rows.append(record)
        self.service.metrics.events.labels(record["reason"]).inc()

    async def _records(self, what: str, *given: Any) -> Any:
        return await asyncio.to_thread(getattr(self.service.records, what), *given)


def catch_up(
    service: Service | Settings, broker: str, topics: Topics = TOPICS, group: str = "imgprep"
) -> Counts:
    """Work until the end of the topic, in a notebook or a batch job;
    what was done, with a row per message.

    service: one that has been started, or settings of one for the time of this call.
    """
    if isinstance(service, Settings):
        own = Service(service)
        own.start()
        try:
            return catch_up(own, broker, topics, group)
        finally:
            own.close()
    worker = Worker(service, broker, topics, group)
    try:
        # A notebook's own thread has a loop already.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(worker.work(until_end=True))).result()
    finally:
        worker.close()
