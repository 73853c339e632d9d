"""Reads a topic as a stranger would: Confluent's consumer, its Avro deserializer, the registry.

It knows nothing of this repository. Prints the values of all records, one JSON object a line.
"""

import json
import os
import sys
import uuid

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def plain(value):
    """What JSON has no type for, as text."""
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "timestamp"):
        return round(value.timestamp() * 1_000_000)
    return value


def main(topic):
    registry = SchemaRegistryClient({"url": os.environ["SCHEMA_REGISTRY_URL"]})
    decode = AvroDeserializer(registry)
    consumer = Consumer({
        "bootstrap.servers": os.environ["KAFKA_BROKERS"],
        "group.id": f"outsider-{uuid.uuid4()}",
        "enable.auto.commit": False,
    })
    partitions, left = [], 0
    for number in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)
        partitions.append(TopicPartition(topic, number, low))
        left += high - low
    consumer.assign(partitions)
    while left:
        message = consumer.poll(20)
        if message is None or message.error():
            sys.exit(f"no record came: {message and message.error()}")
        left -= 1
        value = decode(message.value(), SerializationContext(topic, MessageField.VALUE))
        record = {name: plain(field) for name, field in value.items()}
        print(json.dumps(record, sort_keys=True))
    consumer.close()


main(sys.argv[1])
