"""What the chart renders, at work on a real broker: settings, secrets as files, its KafkaUser's rights, `helm test`."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker, free_port
from tests.end_to_end.job import wait_until
from tests.helm.chart import objects, only
from tests.helm.release import PASSWORD, USER, assert_it_trains, grant, mounted, training, values_for
from tests.log_record import LogRecord
from tests.topics import Topics


@pytest.fixture(scope="module")
def guarded() -> Iterator[Broker]:
    with Broker(users={USER: PASSWORD}) as broker:
        yield broker


def test_a_worker_scores_with_the_rights_of_the_chart_and_helm_test_reads_one(guarded: Broker, tmp_path: Path) -> None:
    topics = Topics(guarded.bootstrap)
    values = values_for(guarded, topics)
    events, scores = values["config"]["kafka"]["input_topics"][0], values["config"]["kafka"]["output_topic"]
    release = mounted(objects(values), tmp_path)
    grant(only("KafkaUser", release.made), topics)
    now_ms = int(time.time() * 1000)
    topics.write([LogRecord(events, 0, -1, now_ms, b"press-7", b'{"x":1,"y":2}', ())])
    with release.worker() as worker:
        wait_until(lambda: worker.poll() is not None or len(topics.read(scores)) == 1, lambda: release.log, 30)
        assert worker.poll() is None, release.log
        refused = release.test()
        values["strimzi"]["user"]["readScores"] = True
        grant(only("KafkaUser", objects(values)), topics)
        done = release.test()
    assert refused.returncode == 1
    assert f"the right Read on {scores} is missing" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{events}-0-0 of press-7: score ")


def test_helm_test_says_so_where_no_broker_answers(guarded: Broker, tmp_path: Path) -> None:
    values = values_for(guarded, Topics(guarded.bootstrap))
    values["config"]["kafka"]["bootstrap_servers"] = f"127.0.0.1:{free_port()}"
    values["test"]["timeoutSeconds"] = 2
    done = mounted(objects(values), tmp_path).test()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "helm test: " in done.stderr
    assert "cannot be looked at" in done.stderr


def test_a_training_job_replaces_a_model_by_a_better_one(guarded: Broker, tmp_path: Path) -> None:
    assert_it_trains(*training(guarded, tmp_path))
