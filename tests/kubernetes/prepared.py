"""A release that may be installed: the values for a job, and what a user has in the namespace before."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from tests.end_to_end.job import Job
from tests.helm.chart import Object
from tests.image.podman import IMAGE
from tests.kubernetes.images import TAG
from tests.kubernetes.node import Node
from tests.kubernetes.release import CORE, Release, namespace

USER, PASSWORD = "worker", "a-password-of-tests"
SIGNED_IN = {"username": USER, "password": PASSWORD}
OURS = ["PersistentVolumeClaim models", "Secret kafka-user"]


@contextmanager
def prepared(
    node: Node, job: Job, name: str, *, signed_in: Mapping[str, str] = SIGNED_IN, cpu: str | None = None
) -> Iterator[Release]:
    """The release, not installed; its namespace, the Secret, and the claim with the model are there.

    A worker may have so much of a CPU, or all that it wants.
    """
    node.api.create(_volume(name, job.folder))
    try:
        with namespace(node.api, name):
            for one in (_secret(name, signed_in), _claim(name)):
                node.api.create(one)
            yield Release(node, name, _values(job, cpu))
    finally:
        node.api.delete(f"{CORE}/persistentvolumes/{name}")


def pinned(model: Path) -> Object:
    """The values that make pods work with this model of the job's folder, and no other."""
    digest = sha256(model.read_bytes()).hexdigest()
    return {"persistentVolumeClaim": {"claimName": "models", "path": model.name}, "sha256": digest}


def _values(job: Job, cpu: str | None) -> Object:
    """Little more than what the job is."""
    limits = {"memory": "512Mi"} | ({} if cpu is None else {"cpu": cpu})
    return {
        "image": {"repository": IMAGE, "tag": TAG},
        "config": {name: value for name, value in job._settings.items() if name != "model"},
        "model": pinned(job.model),
        "kafkaAuth": {"sasl": {"mechanism": "PLAIN", "existingSecret": "kafka-user"}},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": limits},
    }


def _secret(name: str, entries: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kafka-user", "namespace": name},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in entries.items()},
    }


def _volume(name: str, folder: Path) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": name, "name": "models"},
        },
    }


def _claim(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": name},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
