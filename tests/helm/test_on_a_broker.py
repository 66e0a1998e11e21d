"""What the chart renders, at work on a real broker: settings, secrets as files, its KafkaUser's rights, `helm test`.

Kubernetes is played: files of Secrets and ConfigMaps lie in a folder, and variables are set as the pod's would be.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from tests.artifacts import make_artifact
from tests.broker import Broker, free_port
from tests.end_to_end.job import COMMAND, wait_until
from tests.helm.chart import Object, objects, only
from tests.log_record import LogRecord
from tests.topics import Topics

USER, PASSWORD = "demo-anomaly-worker", "secret"
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}


@dataclass(frozen=True)
class Release:
    """The chart's objects for one job on a broker, and a folder that holds what would be mounted."""

    made: list[Object]
    folder: Path

    @property
    def container(self) -> Object:
        """The worker's."""
        container: Object = only("StatefulSet", self.made)["spec"]["template"]["spec"]["containers"][0]
        return container

    def environment(self, container: Object) -> dict[str, str]:
        """The container's variables, as the kubelet would fill them in for the first pod."""
        given = {one["name"]: one.get("value", "demo-anomaly-worker-0") for one in container["env"]}
        return {
            name: self.here(value.replace("$(POD_NAME)", given.get("POD_NAME", ""))) for name, value in given.items()
        }

    def here(self, text: str) -> str:
        """Paths in a pod as paths in the folder."""
        for mounted in ("/etc/anomaly-worker", "/etc/kafka", "/model/"):
            text = text.replace(mounted, f"{self.folder}{mounted}")
        return text

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """The first pod's worker; SIGTERM ends it in good order."""
        arguments = [self.here(argument) for argument in self.container["args"]]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [COMMAND, *arguments], env={**os.environ, **self.environment(self.container)}, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            process.terminate()
            code = process.wait(20)
        assert code == 0, self.log

    @property
    def log(self) -> str:
        """What the worker said."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def test(self) -> subprocess.CompletedProcess[str]:
        """Run the pod of `helm test`."""
        (container,) = only("Pod", self.made)["spec"]["containers"]
        (script,) = container["args"]
        return subprocess.run(
            [sys.executable, "-c", self.here(script)],
            env={**os.environ, **self.environment(container)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def grant(user: Object, topics: Topics) -> None:
    """Do what Strimzi's user operator does with a KafkaUser."""
    for rule in user["spec"]["authorization"]["acls"]:
        resource = rule["resource"]
        pattern = PATTERNS[resource["patternType"]]
        for operation in rule["operations"]:
            right = AclBinding(
                KINDS[resource["type"]],
                resource["name"],
                pattern,
                f"User:{user['metadata']['name']}",
                "*",
                AclOperation[operation.upper()],
                AclPermissionType.ALLOW,
            )
            for answer in topics.admin.create_acls([right]).values():
                answer.result(20)


@pytest.fixture
def guarded() -> Iterator[Broker]:
    with Broker(users={USER: PASSWORD}) as broker:
        yield broker


def values_for(broker: Broker, topics: Topics) -> Object:
    return {
        "config": {
            "kafka": {
                "bootstrap_servers": broker.sasl_bootstrap,
                "group_id": "machines",
                "input_topics": [topics.create("events")],
                "output_topic": topics.create("scores"),
                "dead_letter_topic": topics.create("dead"),
            },
            "http": {"port": free_port()},
            "start": "earliest",
        },
        "model": {"configMap": {"name": "model", "key": "machine.onnx"}},
        "kafkaAuth": {"sasl": {"mechanism": "PLAIN", "existingSecret": "kafka-user"}},
        "strimzi": {"cluster": "plant", "user": {"enabled": True}},
        "test": {"timeoutSeconds": 20},
    }


def mounted(made: list[Object], folder: Path) -> Release:
    """The objects, and what the kubelet would mount of them."""
    release = Release(made, folder)
    settings = only("ConfigMap", made, name="demo-anomaly-worker")["data"]["worker.yaml"]
    files = {
        "etc/kafka/sasl/username": USER,
        "etc/kafka/sasl/password": PASSWORD,
        "etc/anomaly-worker/worker.yaml": release.here(settings),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (folder / "model").mkdir()
    make_artifact(folder / "model" / "machine.onnx", features=("x", "y"))
    return release


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
