"""The commands beside `run`, on a real broker: capture and check leave no trace, score gives what Kafka gives."""

import csv
import json
import subprocess
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from rich.console import Console

from schemas.dead_letter import DeadLetter
from tests.end_to_end.conftest import MakeJob
from tests.end_to_end.job import COMMAND, Job
from tests.end_to_end.stream import BAD_VALUES, FIRST_TIME_MS, Event, events
from tests.self_contained import PATHS, self_contained_events
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
    for commit in (True, False):
        job.topics.write_in_transaction([event.to(job.inputs[0], 0) for event in good_events(5)], commit=commit)
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


# --- score


def test_a_file_scores_as_the_same_events_do_through_kafka(make_job: MakeJob, bootstrap: str) -> None:
    job = make_job(bootstrap, partitions=(1,), out=1)
    job.set({"events": PATHS})
    values = self_contained_events(400)
    job.write([Event(None, value, FIRST_TIME_MS) for value in values], partition=0)
    worker = job.start()
    job.wait_until_done()
    worker.stop()

    data, output = job.folder / "events.ndjson", job.folder / "scores.ndjson"
    data.write_bytes(b"\n".join(values))
    command = ["score", "--config", str(job.folder / "worker-0.yaml"), "--data", str(data), "--output", str(output)]
    done = subprocess.run([COMMAND, *command], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.DONE, done.stderr

    assert _without_place(output.read_bytes().splitlines()) == _without_place(
        record.value for record in job.topics.read(job.scores)
    )
    letters = [
        DeadLetter(key=r.key, value=r.value, timestamp=0, headers=list(r.headers)) for r in job.topics.read(job.dead)
    ]
    refused = [json.loads(line) for line in Path(f"{output}.dead.ndjson").read_text().splitlines()]
    assert [(line["row"], line["reason"], line["message"]) for line in refused] == [
        (letter.source[2], letter.reason, letter.message) for letter in letters
    ]
    assert len(refused) == len(BAD_VALUES) - 1


def _without_place(lines: Iterable[bytes]) -> list[dict]:
    """Score records without what tells a topic from a file."""
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["id"], record["source"]["topic"]
    return records


def test_what_was_captured_scores_as_it_did_in_the_topic(make_job: MakeJob, bootstrap: str) -> None:
    """Captured rows are renumbered, so windows have other offsets; what they hold, and so the scores, are the same."""
    job = make_job(bootstrap, partitions=(1,), out=1)
    job.write(good_events(300), partition=0)
    worker = job.start()
    job.wait_until_done()
    worker.stop()
    config = str(job.folder / "worker-0.yaml")
    data, output = str(job.folder / "events.parquet"), str(job.folder / "scores.ndjson")
    for command in (
        ["capture", "--config", config, "--max-events", "1000", "--output", data],
        ["score", "--config", config, "--data", data, "--output", output],
    ):
        done = subprocess.run([COMMAND, *command], capture_output=True, text=True, check=False)
        assert done.returncode == ExitCode.DONE, done.stderr
    scored = [_seen(json.loads(line)) for line in Path(output).read_text().splitlines()]
    assert scored == [_seen(json.loads(record.value)) for record in job.topics.read(job.scores)]


def _seen(record: dict) -> tuple[object, ...]:
    return (
        *(record[name] for name in ("entity", "event_time", "score", "is_anomaly", "missing")),
        record["window"]["length"],
    )
