"""The chart, installed for real: it works, it can be changed and taken away, and what is wrong says so."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from zlib import crc32

import pytest
import yaml
from helm_python import HelmError

from tests.end_to_end.job import Job
from tests.end_to_end.stream import events
from tests.helm.chart import CASES, Object, objects, values_of
from tests.kubernetes.api import Api, ApiError
from tests.kubernetes.machine import ADDRESS
from tests.kubernetes.node import Node
from tests.kubernetes.prepared import OURS, PASSWORD, USER, prepared
from tests.kubernetes.release import CORE, Release, namespace

DEFINITIONS = Path(__file__).parents[1] / "helm" / "custom_resource_definitions"
UNHEARD_S = 40  # longer than failing probes take to restart a pod

pytestmark = pytest.mark.timeout(900)


# --- installed, changed, taken away


def test_it_is_installed_tested_upgraded_rolled_back_and_leaves_nothing(
    the_node: Node, job: Job, say: Callable[[str], None]
) -> None:
    say(f"the node is up after {the_node.seconds:.1f} s, its images taken in")
    with prepared(the_node, job, "machines") as machines:
        machines.values["replicas"] = 2
        machines.install()
        machines.wait_until_ready(2)
        job.write(list(islice(events(), 3000)))
        job.wait_until_done()
        assert "score" in machines.test()
        first = settings_seen(machines)

        machines.values["config"]["log"] = {"level": "debug"}
        machines.upgrade()
        machines.wait_until_ready(2)
        second = settings_seen(machines)
        machines.rollback()
        machines.wait_until_ready(2)
        assert first != second
        assert settings_seen(machines) == first

        assert [restarts(pod) for pod in machines.pods()] == [0, 0]
        assert job.verify().scored > 2000  # what came out follows from the settings, the model and the Secret
        machines.uninstall()
        the_node.api.wait_until(lambda: machines.left() == OURS, lambda: f"left: {machines.left()}")
        say(", ".join(f"helm {command} {seconds:.1f} s" for command, seconds in machines.took_s.items()))


def settings_seen(release: Release) -> set[str]:
    """Digests of the settings that the pods run with."""
    return {pod["metadata"]["annotations"]["checksum/settings"] for pod in release.pods()}


def restarts(pod: Object) -> int:
    """How often its containers were started again."""
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))


# --- what is wrong


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"config": {}}, "config.start must be chosen"),
        ({"replicas": -1}, "replicas"),
        ({"modle": {}}, "modle"),
        ({"gpu": {"enabled": True}}, "gpu.enabled reserves a GPU that config.inference.provider: cpu never uses"),
        ({"autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "choose one"),
    ],
)
def test_wrong_values_end_in_their_sentence_and_install_nothing(
    the_node: Node, job: Job, changes: Object, sentence: str
) -> None:
    with prepared(the_node, job, f"wrong-{crc32(sentence.encode())}") as wrong:
        wrong.values.update(changes)
        with pytest.raises(HelmError, match=sentence):
            wrong.install()
        assert wrong.left() == OURS


def test_another_model_than_the_pinned_one_is_refused_with_the_reason_in_the_termination_message(
    the_node: Node, job: Job
) -> None:
    with prepared(the_node, job, "other-model") as refused:
        refused.values["model"]["sha256"] = "0" * 64
        refused.install(wait=False)
        assert "sha256" in refused.last_words(0)


def test_a_secret_without_the_password_is_named_in_the_termination_message(the_node: Node, job: Job) -> None:
    with prepared(the_node, job, "no-password", signed_in={"username": USER}) as refused:
        refused.install(wait=False)
        assert "/etc/kafka/sasl/password" in refused.last_words(0)


def test_a_wrong_password_is_a_pod_that_tells_so(the_node: Node, job: Job) -> None:
    with prepared(the_node, job, "wrong-password", signed_in={"username": USER, "password": f"{PASSWORD}?"}) as refused:
        refused.install(wait=False)
        the_node.api.wait_until(lambda: "uthentication failed" in refused.log(0), refused.told)
        assert not refused.ready(0)


def test_a_missing_secret_is_an_event_of_a_pod_that_does_not_start(the_node: Node, job: Job) -> None:
    with prepared(the_node, job, "no-secret") as waiting:
        the_node.api.delete(f"{CORE}/namespaces/no-secret/secrets/kafka-user")
        waiting.install(wait=False)
        the_node.api.wait_until(lambda: 'secret "kafka-user" not found' in waiting.told(), waiting.told)
        assert not waiting.ready(0)


def test_a_broker_out_of_reach_is_a_pod_that_waits_and_is_not_restarted(the_node: Node, job: Job) -> None:
    job.set({"kafka": {"bootstrap_servers": f"{ADDRESS}:1"}})
    with prepared(the_node, job, "no-broker") as waiting:
        waiting.install(wait=False)
        the_node.api.wait_until(lambda: bool(waiting.status(0).get("started")), waiting.told)
        time.sleep(UNHEARD_S)
        (pod,) = waiting.pods()
        assert pod["status"]["phase"] == "Running", waiting.told()
        assert restarts(pod) == 0
        assert not waiting.ready(0)
        assert f"{ADDRESS}:1" in waiting.log(0)


# --- what the API server says


@pytest.fixture(scope="module")
def plant(the_node: Node) -> Iterator[None]:
    """The namespace that the cases are rendered for, with the custom kinds of all of them."""
    api = the_node.api
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        api.create(yaml.safe_load(path.read_text(encoding="utf-8")))
    with namespace(api, "plant"):
        accounts = f"{CORE}/namespaces/plant/serviceaccounts"
        api.wait_until(lambda: bool(api.items(accounts)), "the namespace has its account")
        yield


@pytest.mark.parametrize("case", CASES)
def test_the_server_takes_every_object_of_each_case_and_warns_of_none(the_node: Node, plant: None, case: str) -> None:
    api, made = the_node.api, [of_known_version(one) for one in objects(values_of(case), release=case)]
    api.warnings.clear()
    for one in sorted(made, key=lambda one: one["kind"] != "ServiceAccount"):  # pods must find theirs
        api.wait_until(lambda one=one: is_served(api, one), f"{one['kind']} is served")
        real = {} if one["kind"] == "ServiceAccount" else {"dryRun": "All"}
        api.create(one, fieldValidation="Strict", **real)
    assert api.warnings == []


def of_known_version(one: Object) -> Object:
    """What Strimzi's v1 takes, v1beta2 took too; the definitions that are kept serve v1."""
    return {**one, "apiVersion": one["apiVersion"].replace("strimzi.io/v1beta2", "strimzi.io/v1")}


def is_served(api: Api, one: Object) -> bool:
    try:
        return one["kind"] in api.kinds(one["apiVersion"])
    except ApiError:
        return False
