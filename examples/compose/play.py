"""Plays CSV files of machines into a topic as JSON events, again and again: SERVERS TOPIC EVENTS_A_SECOND FOLDER."""

import csv
import gzip
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

from confluent_kafka import Producer


def events(folder: Path) -> Iterator[dict[str, object]]:
    """All rows of all files, side by side; the times are now, for a row of long ago would be deleted soon."""
    with ExitStack() as stack:
        paths = sorted(folder.glob("*.csv.gz"))
        files = [stack.enter_context(gzip.open(path, "rt", newline="")) for path in paths]
        for rows in zip_longest(*map(csv.DictReader, files)):
            for row in filter(None, rows):
                numbers = {
                    name: float(value) for name, value in row.items() if name not in {"server", "time"} and value
                }
                yield {"server": row["server"], "time": datetime.now(UTC).isoformat(), **numbers}


def main(servers: str, topic: str, events_a_second: str, folder: str) -> None:
    """Until it is ended."""
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random", "enable.idempotence": True})
    while True:
        for event in events(Path(folder)):
            producer.produce(topic, json.dumps(event), key=str(event["server"]))
            producer.poll(0)
            time.sleep(1 / float(events_a_second))
        producer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
