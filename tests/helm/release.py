"""A release of the chart at work on a real broker, with Kubernetes played.

Files of Secrets and ConfigMaps lie in a folder, and variables are set as the pod's would be.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from tests.artifacts import make_artifact
from tests.broker import Broker, free_port
from tests.end_to_end.job import COMMAND
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
        given = {one["name"]: one.get("value", "demo-anomaly-worker-0") for one in container.get("env", [])}
        return {
            name: self.here(value.replace("$(POD_NAME)", given.get("POD_NAME", ""))) for name, value in given.items()
        }

    def here(self, text: str) -> str:
        """Paths in a pod as paths in the folder."""
        for mounted in ("/etc/anomaly-worker", "/etc/kafka", "/model/", "/training/"):
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

    def argv(self, container: Object) -> list[str]:
        """What a container starts, its variables filled in."""
        argv = [self.here(word) for word in [*container["command"], *container.get("args", [])]]
        for name, value in self.environment(container).items():
            argv = [word.replace(f"$({name})", value) for word in argv]
        return argv

    def run(self, container: Object) -> subprocess.CompletedProcess[str]:
        """Run a container that ends by itself."""
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            self.argv(container),
            env={**os.environ, **self.environment(container), "PATH": programs},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def test(self) -> subprocess.CompletedProcess[str]:
        """Run the pod of `helm test`."""
        (container,) = only("Pod", self.made)["spec"]["containers"]
        return self.run(container)


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


def mounted(made: list[Object], folder: Path, kind: type[Release] = Release) -> Release:
    """The objects, and what the kubelet would mount of them."""
    release = kind(made, folder)
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


def labelled(rows: int, *, seed: int) -> list[tuple[float, float, int]]:
    """Two quantities that move together; where they do not, the row is labelled."""
    chance = random.Random(seed)
    made = []
    for row in range(rows):
        odd = seed > 0 and row % 100 in range(50, 55)
        x = chance.gauss(0, 1)
        made.append((x, (-3 * x if odd else x) + chance.gauss(0, 0.1) + 10, int(odd)))
    return made


def training(broker: Broker, folder: Path, kind: type[Release] = Release) -> tuple[Release, list[Object]]:
    """A release with events to train on and labelled ones to judge by, and the steps of its training job."""
    topics = Topics(broker.bootstrap)
    values = values_for(broker, topics)
    values["model"] = {"persistentVolumeClaim": {"claimName": "models"}}
    values["training"] = {
        "enabled": True,
        "arguments": ["--detector=pca", "--window=4"],
        "evaluation": {"data": "labelled.csv"},
    }
    release = mounted(objects(values), folder, kind)
    grant(only("KafkaUser", release.made), topics)
    (events,) = values["config"]["kafka"]["input_topics"]
    now_ms = int(time.time() * 1000)
    normal = [json.dumps({"x": x, "y": y}).encode() for x, y, _ in labelled(1200, seed=0)]
    topics.write([LogRecord(events, 0, -1, now_ms - 1200 + row, b"press-7", value) for row, value in enumerate(normal)])
    (folder / "training").mkdir()
    rows = [f"press-7,{row},{x},{y},{label}" for row, (x, y, label) in enumerate(labelled(1200, seed=1))]
    text = "\n".join(["entity,event_time,x,y,label", *rows])
    (folder / "model" / "labelled.csv").write_text(text, encoding="utf-8")
    pod = only("CronJob", release.made)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return release, [*pod["initContainers"], *pod["containers"]]


def assert_it_trains(release: Release, steps: list[Object]) -> None:
    """The job's steps are done, and replace the running model by a better one."""
    running, new = release.folder / "model" / "machine.onnx", release.folder / "training" / "new.onnx"
    poor = running.read_bytes()
    for step in steps:
        done = release.run(step)
        assert done.returncode == 0, done.stderr
    assert "is the new model (vus_pr" in done.stdout
    assert running.read_bytes() == new.read_bytes() != poor
