"""The commands beside `run`, on a real broker: capture and check leave no trace, score gives what Kafka gives."""

import csv
import json
from itertools import islice

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from rich.console import Console

from tests.end_to_end.job import Job
from tests.end_to_end.stream import FIRST_TIME_MS, Event, events
from worker.capture import capture
from worker.errors import BrokerError, ExitCode, WorkerError
from worker.extent import Extent


def good_events(count: int, *, seed: int = 1) -> list[Event]:
    return list(islice(events(seed, bad_share=0.0), count))


def captured(job: Job, name: str = "events.csv", **extent: int) -> list[dict[str, str]]:
    output = job.folder / name
    console = Console(stderr=True)
    code = capture(
        job.settings, extent=Extent(**extent), output=output, features=None, console=console, show_progress=False
    )
    assert code == ExitCode.DONE
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


# --- capture


def test_capture_writes_every_valid_event_in_the_order_of_each_partition(job: Job) -> None:
    written = job.write(good_events(500))
    rows = captured(job, max_events=10_000)
    places = [(int(row["source_partition"]), int(row["source_offset"])) for row in rows]
    assert places == sorted((record.partition, record.offset) for record in written)
    by_place = {(record.partition, record.offset): record for record in written}
    for row, place in zip(rows, places, strict=True):
        record = by_place[place]
        value = json.loads(record.value)
        assert row["entity"] == record.key.decode()
        assert int(row["event_time"]) == record.timestamp
        assert row["source_topic"] == record.topic
        assert [row[name] for name in ("x", "y")] == [_float32(value.get(name)) for name in ("x", "y")]


def _float32(number: float | None) -> str:
    """As the file writes it: the fewest digits of the float32."""
    import numpy as np  # noqa: PLC0415

    return "" if number is None else str(np.float32(number))


def test_capture_counts_what_the_worker_would_refuse_and_says_why(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    mixed = list(islice(events(3, bad_share=0.5), 300))
    written = job.write([event._replace(timestamp=max(event.timestamp, 1)) for event in mixed])
    rows = captured(job, max_events=10_000)
    said = capfd.readouterr().err
    assert 0 < len(rows) < len(written)
    assert f"wrote {len(rows):,} rows" in said
    assert "as undecodable, for instance:" in said
    assert "as too_large, for instance:" in said


def test_capture_takes_a_range_of_time(job: Job) -> None:
    job.write(good_events(100))
    begin, end = FIRST_TIME_MS + 20_000, FIRST_TIME_MS + 50_000
    rows = captured(job, from_ms=begin, to_ms=end)
    assert sorted(int(row["event_time"]) for row in rows) == list(range(begin, end, 1000))


def test_capture_takes_the_newest_of_every_partition(job: Job) -> None:
    written = [record for part in range(4) for record in job.write(good_events(50, seed=part), partition=part)]
    rows = captured(job, max_events=40)
    assert len(written) == 200
    assert [(int(row["source_partition"]), int(row["source_offset"])) for row in rows] == [
        (partition, offset) for partition in range(4) for offset in range(40, 50)
    ]


def test_capture_leaves_the_group_as_it_was(job: Job) -> None:
    job.write(good_events(50))
    captured(job, max_events=100)
    assert job.committed() == {}


def test_capture_passes_aborted_records_and_ends_at_a_marker(job: Job) -> None:
    producer = Producer({"bootstrap.servers": job.topics.bootstrap, "transactional.id": job.group, "log_level": 0})
    producer.init_transactions(20)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for event in good_events(5):
            producer.produce(job.inputs[0], event.value, event.key, partition=0, timestamp=event.timestamp)
        end(20)
    rows = captured(job, max_events=100)
    assert [int(row["source_offset"]) for row in rows] == [0, 1, 2, 3, 4]


def test_capture_ends_before_an_open_transaction(job: Job) -> None:
    job.write(good_events(5), partition=0)
    producer = Producer({"bootstrap.servers": job.topics.bootstrap, "transactional.id": job.group, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(job.inputs[0], b"{}", partition=0)
    producer.flush(20)
    assert len(captured(job, max_events=100)) == 5
    producer.abort_transaction(20)


def test_without_a_model_the_features_are_found_in_the_events(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    job.model.unlink()
    job.write([Event(b"a", b'{"load":1,"up":true,"t":%d,"host":"h"}' % t, 1000 + t) for t in range(10)])
    job.set({"events": {"timestamp": "t"}})
    rows = captured(job, max_events=100)
    assert list(rows[0]) == ["entity", "event_time", "load", "source_topic", "source_partition", "source_offset"]
    assert "1 features found in the events: load" in capfd.readouterr().err


def test_mapped_features_are_captured_under_their_names(job: Job) -> None:
    job.model.unlink()
    job.write([Event(b"a", b'{"data":{"cpu":%d}}' % t, 1000 + t) for t in range(3)])
    job.set({"events": {"features": {"cpu": "data.cpu"}}})
    assert [row["cpu"] for row in captured(job, max_events=100)] == ["0.0", "1.0", "2.0"]


def test_capture_says_what_is_wrong_and_leaves_no_file(job: Job) -> None:
    with pytest.raises(WorkerError, match=r"no records in .*: widen the range"):
        captured(job, max_events=100)
    job.write([Event(b"a", b"no JSON", 1000)])
    with pytest.raises(WorkerError, match="No record is a valid event: refused 1 as undecodable"):
        captured(job, max_events=100)
    job.set({"kafka": {"input_topics": ["no-such-topic"]}})
    with pytest.raises(BrokerError, match="There is no topic 'no-such-topic'"):
        captured(job, max_events=100)
    assert not [path.name for path in job.folder.iterdir() if "events" in path.name]


def test_capture_writes_parquet(job: Job) -> None:
    job.write(good_events(100))
    extent = Extent(max_events=1000)
    output = job.folder / "events.parquet"
    capture(
        job.settings, extent=extent, output=output, features=["x"], console=Console(stderr=True), show_progress=True
    )
    table = pq.read_table(output)
    assert table.column_names == ["entity", "event_time", "x", "source_topic", "source_partition", "source_offset"]
    assert 90 < table.num_rows <= 100
