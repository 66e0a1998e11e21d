"""What ends a worker before it consumes anything: the exit code, and one sentence that says what to do."""

import json
import subprocess
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from tests.artifacts import artifact_bytes, make_artifact
from tests.broker import free_port
from tests.end_to_end.job import COMMAND, Job, Worker
from tests.end_to_end.stream import Event, events
from tests.rights import RIGHTS, grant, subject


def assert_one_sentence(worker: Worker, *words: str) -> None:
    *logged, sentence = worker.log.rstrip("\n").split("\n")
    assert all(isinstance(json.loads(line), dict) for line in logged), f"not the sentence alone: {worker.log}"
    assert sentence.startswith("anomaly-worker: "), f"a log line instead of a sentence: {sentence}"
    for word in words:
        assert word.lower() in sentence.lower(), sentence


def timed(words: Sequence[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """A command, and the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run([COMMAND, *words], check=False, capture_output=True, text=True, cwd=folder)
    return done, time.monotonic() - started


@pytest.mark.parametrize("command", [["run"], ["check"], ["capture", "--max-events", "5", "--output", "events.csv"]])
def test_brokers_out_of_reach_are_told_in_time(tmp_path: Path, command: Sequence[str]) -> None:
    """In the time that users get where they set none: 15 s, and what a process takes to start beside other work."""
    kafka = {"bootstrap_servers": f"127.0.0.1:{free_port()}", "group_id": "nobody", "input_topics": ["events"]}
    settings = {
        "model": {"uri": str(make_artifact(tmp_path / "model.onnx", features=("x", "y")))},
        "kafka": kafka | {"output_topic": "scores", "dead_letter_topic": "dead"},
        "start": "earliest",
        "http": {"port": None},
    }
    config = tmp_path / "worker.yaml"
    config.write_text(json.dumps(settings))
    help_, start_s = timed(["--help"], tmp_path)
    assert help_.returncode == 0
    done, took_s = timed([*command, "--config", str(config)], tmp_path)
    assert took_s < 15 + start_s
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "kafka.bootstrap_servers" in done.stderr


def test_a_consumer_that_fails_for_good_ends_its_worker(job: Job) -> None:
    job.set({"kafka": {"group_instance_id": "the-same"}})
    first = job.start().wait_until_ready()
    second = job.start()
    assert first.exit_code() == 1
    assert_one_sentence(first, "for good", "its own kafka.group_instance_id")
    job.write(list(islice(events(), 100)))
    job.wait_until_done()
    second.stop()
    assert job.verify().scored > 80


def test_a_worker_that_is_fenced_says_so(job: Job) -> None:
    job.set({"kafka": {"transactional_id": f"{job.group}-0"}})
    job.write(list(islice(events(), 100)))
    first = job.start().wait_until_ready()
    first.wait_until_scored(50)
    job.start().wait_until_ready()
    job.write(list(islice(events(), 300)))
    assert first.exit_code() == 1
    assert_one_sentence(first, "transactional.id", f"{job.group}-0")


@pytest.mark.parametrize("setting", ["input_topics", "output_topic", "dead_letter_topic"])
def test_a_missing_topic_is_named(job: Job, setting: str) -> None:
    missing = ["no-such-topic"] if setting == "input_topics" else "no-such-topic"
    job.set({"kafka": {setting: missing, "start_timeout_s": 3}})
    worker = job.start()
    assert worker.exit_code() == 1
    assert_one_sentence(worker, "no-such-topic")


def test_a_topic_that_refuses_the_events_timestamps_is_named(job: Job) -> None:
    """A record from the far future is a dead letter, and the dead-letter topic takes no such times."""
    any_time = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    job.inputs = [job.topics.create("future", partitions=1, config=any_time)]
    job.set({"kafka": {"input_topics": job.inputs}})
    job.write([Event(b"a", b'{"x":1,"y":2}', 9_300_000_000_000)])
    worker = job.start()
    assert worker.exit_code() == 1
    assert_one_sentence(worker, job.dead, "message.timestamp.after.max.ms")


def test_an_unknown_setting_is_refused_with_the_nearest_name(job: Job) -> None:
    job.set({"batch": {"max_event": 5}})
    worker = job.start()
    assert worker.exit_code() == 2
    assert_one_sentence(worker, "max_event", "max_events")


def test_a_setting_of_the_wrong_type_is_refused(job: Job) -> None:
    job.set({"commit_interval_ms": "often"})
    worker = job.start()
    assert worker.exit_code() == 2
    assert_one_sentence(worker, "commit_interval_ms")


def test_a_missing_settings_file_is_named(job: Job) -> None:
    worker = job.start()
    worker.kill()
    (job.folder / "worker-0.yaml").unlink()
    again = Worker(job.folder / "worker-0.yaml", job.folder / "again.log", {})
    assert again.exit_code() == 2
    assert_one_sentence(again, "worker-0.yaml")


def test_a_missing_model_is_refused(job: Job) -> None:
    job.set({"model": {"uri": str(job.folder / "nothing.onnx")}})
    worker = job.start()
    assert worker.exit_code() == 3
    assert_one_sentence(worker, "nothing.onnx")


def bad_models() -> dict[str, bytes]:
    whole = artifact_bytes(features=("x", "y"))
    middle = len(whole) // 2
    return {
        "truncated": whole[:middle],
        "one bit flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "empty": b"",
        "no model": b"no model at all",
    }


@pytest.mark.parametrize("name", ["truncated", "one bit flipped", "empty", "no model"])
def test_a_damaged_model_is_refused_before_joining(job: Job, name: str) -> None:
    job.model.write_bytes(bad_models()[name])
    worker = job.start()
    assert worker.exit_code() == 3
    assert_one_sentence(worker, "model.onnx")
    assert job.committed() == {}


def test_a_model_other_than_the_pinned_one_is_refused(job: Job) -> None:
    job.set({"model": {"sha256": "0" * 64}})
    worker = job.start()
    assert worker.exit_code() == 3
    assert_one_sentence(worker, "0000")


# ---- rights ------------------------------------------------------------------------------------------------------


def test_a_worker_needs_five_rights_and_no_more(guarded_job: Job) -> None:
    guarded_job.write(list(islice(events(), 200)))
    grant(guarded_job, RIGHTS)
    worker = guarded_job.start()
    guarded_job.wait_until_done()
    worker.stop()
    assert guarded_job.verify().scored > 150


@pytest.mark.parametrize("missing", RIGHTS)
def test_a_missing_right_is_named(guarded_job: Job, missing: str) -> None:
    guarded_job.write(list(islice(events(), 50)))
    grant(guarded_job, [right for right in RIGHTS if right != missing])
    worker = guarded_job.start()
    assert worker.exit_code() == 1
    assert_one_sentence(worker, missing.partition(" ")[0], subject(guarded_job, missing))


def test_a_wrong_password_is_told(guarded_job: Job) -> None:
    grant(guarded_job, RIGHTS)
    guarded_job.set({"kafka": {"properties": {"sasl.password": "wrong"}}})
    worker = guarded_job.start()
    assert worker.exit_code() == 1
    assert_one_sentence(worker, "sasl")
    assert json.dumps("wrong") not in worker.log
