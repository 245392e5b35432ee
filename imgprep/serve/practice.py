"""A broker to practise with: librdkafka's own stand-in, in this process.

For trying, not for keeping messages.
"""

import json
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer

_kept_brokers: list[Producer] = []  # the broker lives as long as its producer


def practice_broker() -> str:
    """The address of a broker of this process; it forgets everything when the process ends."""
    producer = Producer(
        {"bootstrap.servers": "practice", "test.mock.num.brokers": 1, "log_level": 0}
    )
    metadata = producer.list_topics(timeout=10)
    _kept_brokers.append(producer)
    broker = next(iter(metadata.brokers.values()))
    return f"{broker.host}:{broker.port}"


def send_messages(broker: str, topic: str, messages: Sequence[dict[str, Any]]) -> int:
    """Put messages into a topic; how many."""
    producer = Producer({"bootstrap.servers": broker})
    for message in messages:
        producer.produce(topic, json.dumps(message).encode())
    if producer.flush(20):
        raise RuntimeError(f"{broker} takes no messages")
    return len(messages)


def read_topic(broker: str, topic: str, group: str = "look") -> list[dict[str, Any]]:
    """Every message of a topic, to its end."""
    options = {
        "bootstrap.servers": broker,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
    }
    consumer = Consumer(options)
    consumer.subscribe([topic])
    found: list[dict[str, Any]] = []
    ends: set[int] = set()
    # Until the end of every partition: a message is no sign that there is another.
    while not ends or len(ends) < len(consumer.assignment()):
        message = consumer.poll(10)
        if message is None:
            break
        error: Any = message.error()
        if error is None:
            found.append(json.loads(message.value() or b"null"))
        elif error.code() == KafkaError._PARTITION_EOF:
            ends.add(message.partition() or 0)
    consumer.close()
    return found
