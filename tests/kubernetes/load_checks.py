"""Workers on Kubernetes under load, struck as clusters strike: what came out is held to the log, record by record."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.artifacts import make_artifact
from tests.chaos.traffic import Traffic
from tests.end_to_end.job import Job
from tests.image.podman import IMAGE
from tests.kubernetes.api import ApiError
from tests.kubernetes.conftest import CPU, DRAINED_S
from tests.kubernetes.images import NEXT_TAG
from tests.kubernetes.machine import hierarchies
from tests.kubernetes.node import Node
from tests.kubernetes.prepared import pinned, prepared
from tests.kubernetes.release import Release

WORKERS = 3
CALM_S = 5.0  # of load before and after a strike
WITHOUT_KUBELET_S = 20.0

Say = Callable[[str], None]

pytestmark = pytest.mark.timeout(900)


@dataclass
class Scene:
    """A release at work."""

    release: Release
    job: Job
    a_second: int
    say: Say


@pytest.fixture
def scene(the_node: Node, job: Job, half_speed: int, say: Say, request: pytest.FixtureRequest) -> Iterator[Scene]:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:25].rstrip("-")
    with prepared(the_node, job, name, cpu=CPU) as release:
        release.values["replicas"] = WORKERS
        release.install()
        release.wait_until_ready(WORKERS)
        yield Scene(release, job, half_speed, say)


@contextmanager
def load(scene: Scene, *, successors: tuple[bytes, ...] = ()) -> Iterator[None]:
    """Events come all the time; afterwards each was answered once, from the right window."""
    job = scene.job
    with Traffic(job.topics.bootstrap, job.inputs[0], a_second=scene.a_second, seed=1) as traffic:
        time.sleep(CALM_S)
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
        time.sleep(CALM_S)
    job.wait_until_done(DRAINED_S)
    report = job.verify(successors=successors)  # raises with the counts of everything lost, doubled or wrong
    # More, where a broker was too busy to say in time that it has a transaction.
    assert report.scored + report.dead >= len(traffic.ledger.visible)
    answered = f"{report.scored} scored, {report.dead} dead letters, 0 lost, 0 doubled, 0 wrong"
    sent = f"{traffic.sent} events, {scene.a_second} a second"
    scene.say(f"{sent}: {answered}; the strike took {took_s:.1f} s")


# --- rolled out


def test_a_new_image(scene: Scene) -> None:
    with load(scene):
        scene.release.values["image"]["tag"] = NEXT_TAG
        scene.release.upgrade()
        scene.release.wait_until_ready(WORKERS)
    images = {pod["spec"]["containers"][0]["image"] for pod in scene.release.pods()}
    assert images == {f"{IMAGE}:{NEXT_TAG}"}


def test_other_settings(scene: Scene) -> None:
    before = names_of_pods(scene)
    with load(scene):
        scene.release.values["config"]["commit_interval_ms"] = 80
        scene.release.upgrade()
        scene.release.wait_until_ready(WORKERS)
    assert not before & names_of_pods(scene)


def test_a_new_model(scene: Scene) -> None:
    successor = make_artifact(
        scene.job.folder / "second.onnx", features=("x", "y"), window=6, min_length=3, version="2", mean=0.5
    )
    with load(scene, successors=(successor.read_bytes(),)):
        scene.release.values["model"] = pinned(successor)
        scene.release.upgrade()
        scene.release.wait_until_ready(WORKERS)
    last = scene.job.topics.read(scene.job.scores)[-1]
    assert b'"version":"2"' in (last.value or b"")


def test_a_broken_pod_rolled_back(scene: Scene) -> None:
    """It is not Ready, which must not keep its own rollback waiting; the others never hear of either.

    The digest stands in the pod's template: one in the settings may be mended without a new pod.
    """
    release, broken = scene.release, WORKERS - 1
    others = {release.status(number)["containerID"] for number in range(broken)}
    with load(scene):
        release.values["extraEnv"] = [{"name": "ANOMALY_WORKER_MODEL__SHA256", "value": "0" * 64}]
        release.upgrade(wait=False)
        assert "sha256" in release.last_words(broken)
        wait_until_every_partition_is_answered(scene)
        assert [release.ready(number) for number in range(WORKERS)] == [True] * broken + [False]
        began_s = time.monotonic()
        release.rollback()
        release.wait_until_ready(WORKERS)
        took_s = time.monotonic() - began_s
    assert {release.status(number)["containerID"] for number in range(broken)} == others
    scene.say(f"from the rollback until all were Ready: {took_s:.1f} s")


def wait_until_every_partition_is_answered(scene: Scene) -> None:
    """Also those that the workers took over which are left: the group goes on in each."""
    before = scene.job.committed()

    def have_all_moved() -> bool:
        return all(offset > before[place] for place, offset in scene.job.committed().items())

    scene.release.api.wait_until(have_all_moved, scene.release.told)


def names_of_pods(scene: Scene) -> set[str]:
    """Pods come again under their names; their numbers are new."""
    return {pod["metadata"]["uid"] for pod in scene.release.pods()}


# --- more and fewer


def test_one_worker_three_and_one_again(scene: Scene) -> None:
    scene.release.scale(1)
    scene.release.wait_until_ready(1)
    with load(scene):
        scene.release.scale(3)
        scene.release.wait_until_ready(3)
        time.sleep(CALM_S)
        scene.release.scale(1)
        scene.release.wait_until_ready(1)


def test_each_pod_evicted_in_turn_and_never_two(scene: Scene) -> None:
    refused = 0
    with load(scene):
        for number in range(WORKERS):
            before = names_of_pods(scene)
            scene.release.api.wait_until(lambda number=number: is_evicted(scene.release, number), scene.release.told)
            with pytest.raises(ApiError, match="disruption budget") as caught:
                evict(scene.release, (number + 1) % WORKERS)
            refused += caught.value.status == 429
            scene.release.api.wait_until(lambda before=before: names_of_pods(scene) != before, scene.release.told)
            scene.release.wait_until_ready(WORKERS)
    assert refused == WORKERS


def evict(release: Release, number: int) -> None:
    """`kubectl drain` does it so. Raises ApiError where the budget does not allow it."""
    path = release.pod_path(number)
    name = path.rpartition("/")[2]
    about = {"name": name, "namespace": release.name}
    release.api.post(f"{path}/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about})


def is_evicted(release: Release, number: int) -> bool:
    """Whether it went; as `kubectl drain`, one asks again: the budget learns of a pod that is back a moment later."""
    try:
        evict(release, number)
    except ApiError as error:
        if error.status != 429:
            raise
        return False
    return True


# --- struck


def test_a_pod_deleted_without_grace(scene: Scene) -> None:
    before = names_of_pods(scene)
    with load(scene):
        scene.release.api.delete(scene.release.pod_path(0), gracePeriodSeconds=0)
        scene.release.api.wait_until(lambda: bool(names_of_pods(scene) - before), scene.release.told)
        scene.release.wait_until_ready(WORKERS)


def test_a_container_killed_by_its_memory_limit(scene: Scene) -> None:
    with load(scene):
        exhaust_memory_of(scene.release, 0)
        scene.release.api.wait_until(lambda: scene.release.status(0)["restartCount"] == 1, scene.release.told)
        scene.release.wait_until_ready(WORKERS)
    ended = scene.release.status(0)["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def exhaust_memory_of(release: Release, number: int) -> None:
    """Fill what the container may use, from a process beside the worker, until the kernel kills the larger one."""
    (group,) = memory_groups(release.status(number)["containerID"].removeprefix("containerd://"))
    worker = (group / "cgroup.procs").read_text().split()[0]
    with subprocess.Popen([sys.executable, "-c", _GREEDY, str(group / "cgroup.procs")]) as greedy:
        try:
            release.api.wait_until(lambda: not Path(f"/proc/{worker}").exists(), "the worker is killed")
        finally:
            greedy.kill()


_GREEDY = """
import sys, time
open(sys.argv[1], "w").write("0")
taken = []
while True:
    taken.append(b"." * 2**20)
    time.sleep(0.002)
"""


def memory_groups(container: str) -> Iterator[Path]:
    """The control group that bounds a container's memory."""
    for hierarchy in hierarchies():
        with contextlib.suppress(OSError):
            for group in hierarchy.rglob(container):
                if any((group / name).exists() for name in ("memory.limit_in_bytes", "memory.max")):
                    yield group


def test_the_kubelet_stopped_and_started(scene: Scene) -> None:
    kubelet = scene.release.node.kubelet
    before = names_of_pods(scene)
    with load(scene):
        kubelet.stop()
        time.sleep(WITHOUT_KUBELET_S)
        kubelet.start()
        kubelet.wait_until_up()
        scene.release.wait_until_ready(WORKERS)
    assert names_of_pods(scene) == before
