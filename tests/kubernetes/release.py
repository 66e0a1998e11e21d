"""One release of the chart in a namespace of its own, by the real Helm; and what the cluster says of its pods."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from helm_python import Config

from tests.helm.chart import Object, chart
from tests.kubernetes.api import Api, ApiError, root
from tests.kubernetes.node import Node, is_ready

CORE = "/api/v1"
APPS = "/apis/apps/v1"
TIMEOUT_S = 300
_ALWAYS_THERE = ("ConfigMap kube-root-ca.crt", "ServiceAccount default")
ENFORCED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@dataclass
class Release:
    """What `helm` and `kubectl` would be asked, in the release's namespace, which is called as the release is."""

    node: Node
    name: str
    values: Object
    took_s: dict[str, float] = field(default_factory=dict)
    """How long each command of Helm took that waited for the pods."""

    @property
    def api(self) -> Api:
        """The cluster's."""
        return self.node.api

    @property
    def set_name(self) -> str:
        """Of the StatefulSet; the pods' are made of it."""
        return f"{self.name}-anomaly-worker"

    # --- Helm

    def install(self, *, wait: bool = True) -> None:
        """`helm install`, with --wait where it is to wait. Raises HelmError."""
        self._timed("install", lambda helm, **how: helm.install(chart(), self.name, self.values, **how), wait=wait)

    def upgrade(self, *, wait: bool = True) -> None:
        """`helm upgrade`, to what `values` are now, with --wait where it is to wait."""
        self._timed("upgrade", lambda helm, **how: helm.upgrade(chart(), self.name, self.values, **how), wait=wait)

    def rollback(self) -> None:
        """`helm rollback --wait`, to the revision before."""
        self._timed("rollback", lambda helm, **how: helm.rollback(self.name, **how))

    def test(self) -> str:
        """`helm test --logs`: what its pod said. Raises HelmError where it fails."""
        with self._helm() as helm:
            told: str = helm.test(self.name, timeout=TIMEOUT_S, logs=True)["logs"]
        return told

    def uninstall(self) -> None:
        """`helm uninstall --wait`."""
        self._timed("uninstall", lambda helm, **how: helm.uninstall(self.name, **how))

    def _helm(self) -> Config:
        return Config(kubeconfig_path=self.node.kubeconfig, namespace=self.name)

    def _timed(self, command: str, run: Callable[..., object], *, wait: bool = True) -> None:
        how: Literal["watcher", "hookOnly"] = "watcher" if wait else "hookOnly"
        began_s = time.monotonic()
        with self._helm() as helm:
            run(helm, wait=how, timeout=TIMEOUT_S)
        if wait:
            self.took_s[command] = time.monotonic() - began_s

    # --- pods

    def pods(self) -> list[Object]:
        """The workers', in the order of their numbers."""
        label = f"app.kubernetes.io/component=worker,app.kubernetes.io/instance={self.name}"
        return self.api.items(f"{CORE}/namespaces/{self.name}/pods", labelSelector=label)

    def pod_path(self, number: int) -> str:
        """Where the API keeps a worker's pod."""
        return f"{CORE}/namespaces/{self.name}/pods/{self.set_name}-{number}"

    def pod(self, number: int) -> Object | None:
        """A worker's pod, if it is there."""
        try:
            return self.api.get(self.pod_path(number))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def status(self, number: int) -> Object:
        """What a pod's status says of its worker; empty before there is something to say."""
        statuses = (self.pod(number) or {}).get("status", {}).get("containerStatuses", [{}])
        return dict(statuses[0])

    def ready(self, number: int) -> bool:
        """Whether a worker is."""
        return bool(self.status(number).get("ready"))

    def log(self, number: int, **query: str) -> str:
        """What a pod's worker said; empty before it has started."""
        try:
            return self.api.text(f"{self.pod_path(number)}/log", **query)
        except ApiError:
            return ""

    def last_words(self, number: int) -> str:
        """A worker's termination message, once it has ended with one; it is not Ready then, and its log says it too."""
        self.api.wait_until(lambda: bool(self._messages(number)), self.told)
        message = self._messages(number)[0]
        self.api.wait_until(lambda: message.splitlines()[-1] in self.log(number), self.told)
        assert not self.ready(number)
        return message

    def _messages(self, number: int) -> list[str]:
        """What the worker said as it ended, lately; one that was told to end says nothing."""
        status = self.status(number)
        ends = (status.get(when, {}).get("terminated", {}) for when in ("state", "lastState"))
        return [end["message"] for end in ends if "message" in end]

    def wait_until_ready(self, count: int) -> float:
        """Return, with the seconds it took, once so many workers are Ready and none is on its way out."""
        return self.api.wait_until(partial(self._has_ready, count), self.told, TIMEOUT_S)

    def _has_ready(self, count: int) -> bool:
        pods = self.pods()
        leaving = any("deletionTimestamp" in pod["metadata"] for pod in pods)
        return len(pods) == count and is_ready(pods) and not leaving

    def scale(self, count: int) -> None:
        """`kubectl scale statefulset --replicas`."""
        self.api.patch(f"{APPS}/namespaces/{self.name}/statefulsets/{self.set_name}", {"spec": {"replicas": count}})

    def left(self) -> list[str]:
        """Kind and name of whatever is in the namespace, but for what Kubernetes itself puts there."""
        groups = self.api.get("/apis")["groups"]
        versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]
        return sorted(one for version in versions for one in self._held(version) if one not in _ALWAYS_THERE)

    def _held(self, version: str) -> Iterator[str]:
        for kind, about in self.api.kinds(version).items():
            if about["namespaced"] and "list" in about["verbs"] and kind != "Event":
                for one in self.api.items(f"{root(version)}/namespaces/{self.name}/{about['name']}"):
                    yield f"{kind} {one['metadata']['name']}"

    def told(self) -> str:
        """Everything that explains why pods are not as they should be."""
        states = [f"{pod['metadata']['name']}: {pod['status']}" for pod in self.pods()]
        events = self.api.items(f"{CORE}/namespaces/{self.name}/events")
        happened = [f"{event['involvedObject']['name']}: {event['reason']} {event.get('message')}" for event in events]
        return "\n".join([*states, *happened[-20:], *self._logs()])

    def _logs(self) -> Iterator[str]:
        for number, _ in enumerate(self.pods()):
            yield self.log(number)[-2000:]


@contextmanager
def namespace(api: Api, name: str) -> Iterator[None]:
    """One that enforces the Pod Security standard `restricted`; gone afterwards, with all that is in it."""
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": ENFORCED}})
    try:
        yield
    finally:
        api.delete(f"{CORE}/namespaces/{name}")
