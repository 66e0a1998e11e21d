"""The chart on the real Helm engine: what a table of values becomes, and what is refused with which sentence."""

import contextlib
import copy
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from helm_python import HelmError, lint
from jsonschema import Draft202012Validator

from schemas.settings import Settings
from tests.artifacts import make_artifact
from tests.helm.chart import CASES, CHART, GOLDEN, Object, chart, golden_text, objects, only, pods, texts, values_of
from tests.helm.generate import README, SCHEMA, VALUES, comments, readme, schema, value_at
from worker.errors import ArtifactError, ConfigError
from worker.kafka_clients import BrokerComplaint, client, consumer_properties
from worker.model_store import load_artifact
from worker.settings_file import load_settings

DEFINITIONS = Path(__file__).parent / "custom_resource_definitions"
OLDEST, NEWEST = "1.27", "1.37"
KUBERNETES = (OLDEST, "1.30", "1.33", NEWEST)
IMAGE_VOLUMES_SINCE = "1.33"


def changed(values: Object, changes: Mapping[str, object]) -> Object:
    """The values with others at their places; None takes one away."""
    result = copy.deepcopy(values)
    for place, value in changes.items():
        *above, name = place.split("/")
        node = result
        for step in above:
            node = node.setdefault(step, {})
        if value is None:
            del node[name]
        else:
            node[name] = value
    return result


def refusal(changes: Mapping[str, object]) -> str:
    with pytest.raises(HelmError) as caught:
        texts(changed(values_of("minimal"), changes))
    return str(caught.value)


# --- what it becomes


@pytest.mark.parametrize("case", CASES)
def test_each_case_becomes_what_is_kept_of_it(case: str) -> None:
    kept = (GOLDEN / f"{case}.yaml").read_text(encoding="utf-8")
    assert golden_text(case) == kept, "look at the difference, then `python -m tests.helm.generate`"


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("case", CASES)
def test_each_object_of_kubernetes_is_one_of_that_version(case: str, version: str) -> None:
    if case == "image-model" and float(version) < float(IMAGE_VOLUMES_SINCE):
        case = "minimal"
    for made in objects(values_of(case)):
        if not is_custom(made):
            hold_to_kubernetes(json.dumps(made), version)


@cache
def hold_to_kubernetes(made: str, version: str) -> None:
    """Once for an object that comes in many cases. Raises ValidationError."""
    kubernetes_validate.validate(json.loads(made), version, strict=True)


def is_custom(made: Object) -> bool:
    return made["apiVersion"].partition("/")[0].endswith((".io", ".sh", ".com")) and ".k8s.io" not in made["apiVersion"]


@cache
def definitions() -> dict[tuple[str, str], Object]:
    """The schema of each version of each custom kind; what it does not know is refused."""
    found = {}
    for path in DEFINITIONS.glob("*.yaml"):
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        for version in definition["versions"]:
            api_version = f"{definition['group']}/{version['name']}"
            found[api_version, definition["names"]["kind"]] = closed(version["schema"]["openAPIV3Schema"])
    return found


def closed(node: Object) -> Object:
    """An API server prunes fields that it does not know; here they are faults."""
    result = {
        key: {name: closed(inner) for name, inner in value.items()} if key == "properties" else closed_value(value)
        for key, value in node.items()
    }
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def closed_value(value: object) -> object:
    return closed(value) if isinstance(value, dict) else value


@pytest.mark.parametrize("case", CASES)
def test_each_custom_object_is_what_its_definition_says(case: str) -> None:
    for made in objects(values_of(case)):
        if is_custom(made):
            hold_to_definition(made)


def hold_to_definition(made: Object) -> None:
    # What Strimzi's v1 takes, v1beta2 took too.
    known = definitions()[made["apiVersion"].replace("v1beta2", "v1"), made["kind"]]
    properties = {**known["properties"], "metadata": {"type": "object"}}
    Draft202012Validator({**known, "properties": properties}).validate(made)


def test_a_field_that_nobody_knows_would_be_seen() -> None:
    for made in objects(values_of("everything")):
        made["spec" if "spec" in made else "metadata"]["replica"] = 3
        with pytest.raises(jsonschema.ValidationError, match="replica"):
            hold_to_definition(made) if is_custom(made) else hold_to_kubernetes(json.dumps(made), NEWEST)


def test_every_kind_of_custom_object_is_looked_at() -> None:
    made = {one["kind"] for case in CASES for one in objects(values_of(case)) if is_custom(one)}
    assert made == {kind for _, kind in definitions()}


@pytest.mark.parametrize("case", CASES)
def test_the_worker_takes_the_settings(case: str, tmp_path: Path) -> None:
    settings = settings_of(objects(values_of(case)), tmp_path)
    asked = chart().merge_values(values_of(case))["config"]
    assert settings.kafka.start_timeout_s == 3600
    assert settings.http.host == "0.0.0.0"  # noqa: S104 - in a pod
    for section in ("events", "alert"):
        for name, value in asked.get(section, {}).items():
            taken = getattr(getattr(settings, section), name)
            assert taken == value or taken == {key: [inner] for key, inner in value.items()}
    for name in ("lookback_offsets", "on_gap", "delivery"):
        assert getattr(settings, name) == asked.get(name, getattr(settings, name))


def settings_of(made: list[Object], folder: Path) -> Settings:
    """What a worker in the pod would know, with files that hold what Secrets might."""
    text = only("ConfigMap", made, name="demo-anomaly-worker")["data"]["worker.yaml"]
    for path in set(re.findall(r"\$\{file:([^}]+)\}", text)):
        secret = folder / Path(path).name
        secret.write_text("of a Secret", encoding="utf-8")
        text = text.replace(path, str(secret))
    config = folder / "worker.yaml"
    config.write_text(text, encoding="utf-8")
    (worker,) = only("StatefulSet", made)["spec"]["template"]["spec"]["containers"]
    environ = {one["name"]: one["value"] for one in worker["env"] if "value" in one}
    return load_settings(config, environ=environ)


@pytest.mark.parametrize("case", CASES)
def test_the_kafka_client_knows_every_property(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from confluent_kafka import Consumer  # noqa: PLC0415

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # what signs; nobody is asked whether it is good
        monkeypatch.setenv(name, "of nobody")
    settings = settings_of(objects(values_of(case)), tmp_path)
    properties = consumer_properties(settings, BrokerComplaint())
    if "sasl.oauthbearer.method" in properties:
        properties["sasl.oauthbearer.token.endpoint.url"] = "https://127.0.0.1:1/"  # nobody is to be asked
    if "ssl.ca.location" in properties:
        with pytest.raises(ConfigError, match=r"ssl\.ca\.location failed"):  # known, but the file is not there
            client(Consumer, properties)
    else:
        client(Consumer, properties).close()


@pytest.mark.parametrize("case", CASES)
def test_every_volume_that_is_mounted_is_there(case: str) -> None:
    for pod in pods(objects(values_of(case))):
        volumes = {volume["name"] for volume in pod["volumes"]}
        containers = [*pod["containers"], *pod.get("initContainers", [])]
        assert {mount["name"] for one in containers for mount in one.get("volumeMounts", [])} == volumes


# --- secure by default: https://kubernetes.io/docs/concepts/security/pod-security-standards/, "restricted"


@pytest.mark.parametrize("case", CASES)
def test_each_pod_keeps_to_the_standard_restricted(case: str) -> None:
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for pod in pods(objects(values_of(case))):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= allowed
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "procMount"} & security.keys()
            assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize("case", CASES)
def test_no_pod_has_a_token_of_kubernetes_or_the_variables_of_services(case: str) -> None:
    made = objects(values_of(case))
    for pod in pods(made):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
    for account in (one for one in made if one["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("case", CASES)
def test_every_container_has_a_limit_of_memory(case: str) -> None:
    for pod in pods(objects(values_of(case))):
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["resources"]["limits"]["memory"]


# --- the promises that hang on it


def test_a_pod_is_its_own_transaction_and_a_broken_one_blocks_no_rollback() -> None:
    stateful_set = only("StatefulSet", objects(values_of("everything")))["spec"]
    assert stateful_set["podManagementPolicy"] == "Parallel"
    (worker,) = stateful_set["template"]["spec"]["containers"]
    given = {one["name"]: one for one in worker["env"]}
    assert given["POD_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert given["ANOMALY_WORKER_KAFKA__TRANSACTIONAL_ID"]["value"] == "plant-1-$(POD_NAME)"
    assert list(given).index("POD_NAME") < list(given).index("ANOMALY_WORKER_KAFKA__TRANSACTIONAL_ID")


def test_a_user_of_strimzi_may_write_under_the_transactional_ids_of_the_pods() -> None:
    made = objects(values_of("everything"))
    (prefix,) = (
        rule["resource"]["name"]
        for rule in only("KafkaUser", made)["spec"]["authorization"]["acls"]
        if rule["resource"]["type"] == "transactionalId"
    )
    pod = f"{only('StatefulSet', made)['metadata']['name']}-0"
    assert f"plant-1-{pod}".startswith(prefix)


def test_other_settings_restart_the_pods_and_another_chart_version_alone_does_not() -> None:
    def template(changes: Mapping[str, object]) -> Object:
        made: Object = only("StatefulSet", objects(changed(values_of("minimal"), changes)))["spec"]["template"]
        return made

    assert template({"config/alert": {"threshold": 2}}) != template({})
    assert template({"model/sha256": "ab" * 32}) != template({})
    signed = template({"model/publicKey": PUBLIC_KEY})
    assert signed != template({})
    assert signed != template({"model/publicKey": PUBLIC_KEY.replace("MCow", "MCoW")})
    assert template({"replicas": 5}) == template({})
    assert chart().version not in str(template({})["metadata"])


def test_a_model_is_held_to_the_key_of_the_values(tmp_path: Path) -> None:
    key, model = Ed25519PrivateKey.generate(), make_artifact(tmp_path / "machine.onnx")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    made = objects(changed(values_of("minimal"), {"model/publicKey": public}))
    asked = settings_of(made, tmp_path).model.public_key or ""
    folder, name = asked.rsplit("/", 1)
    mounts = only("StatefulSet", made)["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "settings", "mountPath": folder, "readOnly": True} in mounts
    mounted = tmp_path / name
    mounted.write_text(only("ConfigMap", made)["data"][name], encoding="utf-8")
    Path(f"{model}.sig").write_bytes(b64encode(key.sign(model.read_bytes())))
    load_artifact(str(model), sha256=None, public_key=str(mounted))
    Path(f"{model}.sig").write_bytes(b64encode(Ed25519PrivateKey.generate().sign(model.read_bytes())))
    with pytest.raises(ArtifactError, match="not what the key"):
        load_artifact(str(model), sha256=None, public_key=str(mounted))


def test_an_autoscaler_is_left_to_say_how_many() -> None:
    assert "replicas" not in only("StatefulSet", objects(values_of("everything")))["spec"]
    assert "replicas" not in only("StatefulSet", objects(values_of("keda")))["spec"]
    assert only("StatefulSet", objects(values_of("minimal")))["spec"]["replicas"] == 1


@pytest.mark.parametrize("start", ["earliest", "latest", "2026-01-31T12:00:00Z"])
def test_keda_takes_the_lag_of_a_new_group_as_the_worker_does(start: str) -> None:
    made = objects(changed(values_of("keda"), {"config/start": start}))
    (trigger, _) = only("ScaledObject", made)["spec"]["triggers"]
    assert trigger["metadata"]["offsetResetPolicy"] == ("earliest" if start == "earliest" else "latest")


def test_names_are_short_enough_for_what_kubernetes_puts_behind_them() -> None:
    made = objects(values_of("everything"), release="r" * 53)
    assert all(len(one["metadata"]["name"]) <= 63 - len("-12345678901") for one in made if one["kind"] == "StatefulSet")
    assert {one["metadata"]["namespace"] for one in made} == {"plant"}


def test_names_that_look_like_numbers_stay_text() -> None:
    names = {
        "config/kafka/output_topic": "9",
        "model/persistentVolumeClaim/claimName": "1",
        "kafkaAuth": {
            "tls": {
                "enabled": True,
                "caSecret": {"name": "2", "key": "2"},
                "clientSecret": {"name": "3", "certKey": "3"},
            },
            "sasl": {"mechanism": "PLAIN", "existingSecret": "4", "usernameKey": "4"},
        },
        "serviceAccount": {"create": False, "name": "5"},
        "priorityClassName": "6",
        "transactionalIdPrefix": "1: ",
        "keda/enabled": True,
        "strimzi": {"cluster": "8", "topics": {"enabled": True}, "user": {"enabled": True}},
        "training": {"enabled": True, "evaluation": {"data": "all #1.csv", "label": "odd: 1", "entity": "1"}},
    }
    made = objects(changed(values_of("minimal"), names), release="true", namespace="7")
    for one in made:
        hold_to_definition(one) if is_custom(one) else hold_to_kubernetes(json.dumps(one), NEWEST)
        about = one["metadata"]
        assert about["namespace"] == "7"
        assert {type(text) for text in (about["name"], *about["labels"].values())} == {str}
    replace = only("CronJob", made)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert {"--data=/model/all #1.csv", "--label=odd: 1", "--entity=1"} <= set(replace["args"])


def test_every_pod_has_the_labels_and_annotations_of_pods() -> None:
    labels, annotations = {"sidecar.example/inject": "false"}, {"example.com/note": "scored"}
    asked = {"podLabels": labels, "podAnnotations": annotations, "commonLabels": {"team": "maintenance"}}
    made = objects(changed(values_of("training"), asked))
    template = only("CronJob", made)["spec"]["jobTemplate"]["spec"]["template"]
    for pod in (only("StatefulSet", made)["spec"]["template"], template, only("Pod", made)):
        assert pod["metadata"]["labels"].items() >= {**labels, "team": "maintenance"}.items()
        assert pod["metadata"]["annotations"].items() >= annotations.items()


def test_the_notes_tell_of_spare_pods_and_of_a_model_that_is_not_pinned() -> None:
    notes = texts(values_of("everything"))["templates/NOTES.txt"]
    assert "up to 12 workers, but 8 partitions" in notes
    assert "not pinned" not in notes
    plain = texts(values_of("minimal"))["templates/NOTES.txt"]
    assert "spare" not in plain
    assert "not pinned" in plain


MSK = {"mskIam": {"region": "eu-west-1"}}
NOWHERE_ELSE = [{"ports": [{"port": 9098, "protocol": "TCP"}]}]


def egress(changes: Mapping[str, object]) -> list[Object]:
    policy: Object = only("NetworkPolicy", objects(changed(values_of("minimal"), changes)))["spec"]
    rules: list[Object] = policy.get("egress", [])
    return rules


def test_workers_that_may_go_nowhere_else_reach_those_who_give_them_their_role() -> None:
    told = {"networkPolicy": {"egress": NOWHERE_ELSE}}
    without, with_msk = egress(told), egress({**told, "kafkaAuth": MSK})
    assert with_msk[: len(without)] == without
    sts, agent = with_msk[len(without) :]
    assert sts == {"ports": [{"port": 443, "protocol": "TCP"}]}
    assert agent["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert egress({"kafkaAuth": MSK}) == []  # everywhere


def test_the_notes_tell_where_a_role_is_to_come_from_that_the_chart_does_not_name() -> None:
    named = texts(values_of("msk"))["templates/NOTES.txt"]
    assert "Pod Identity" not in named
    unnamed = texts(changed(values_of("minimal"), {"kafkaAuth": MSK}))["templates/NOTES.txt"]
    assert "this chart names none" in unnamed
    assert "--service-account demo-anomaly-worker" in unnamed


def test_msk_may_have_an_authority_of_its_own(tmp_path: Path) -> None:
    tls = {"tls": {"enabled": True, "caSecret": {"name": "ca"}}}
    kafka = settings_of(objects(changed(values_of("minimal"), {"kafkaAuth": MSK | tls})), tmp_path).kafka
    assert kafka.msk_iam_region == "eu-west-1"
    assert kafka.properties == {"ssl.ca.location": "/etc/kafka/ca/ca.crt"}


# --- what is refused

PUBLIC_KEY = values_of("everything")["model"]["publicKey"]
FAULTS = {
    "config.start must be chosen": {"config/start": None},
    "config.kafka.group_id must be set": {"config/kafka/group_id": None},
    "config.kafka.input_topics must be set": {"config/kafka/input_topics": None},
    "and has 0: set one of": {"model": {}},
    "and has 2: set one of": {"model/secret": {"name": "model"}},
    "config.model is written by the chart": {"config/model": {"uri": "machine.onnx"}},
    "config.kafka.transactional_id would be the same": {"config/kafka/transactional_id": "one"},
    "config.kafka.group_instance_id would be the same": {"config/kafka/group_instance_id": "one"},
    "config.http.port must be a port": {"config/http": {"port": 0}},
    "config.http.host must be reachable": {"config/http": {"host": "127.0.0.1"}},
    "model.sha256 is required with model.url": {"model": {"url": "https://models.example/machine.onnx"}},
    "model.url carries a password": {"model": {"url": "https://me:secret@models.example/m.onnx", "sha256": "ab" * 32}},
    "but the pods have no GPU": {"config/inference": {"provider": "cuda"}},
    "holds no TensorRT": {"config/inference": {"provider": "tensorrt"}, "gpu/enabled": True},
    "reserves a GPU": {"config/inference": {"provider": "cpu"}, "gpu/enabled": True},
    "config.kafka.properties.sasl.password would stand": {"config/kafka/properties": {"sasl.password": "hunter2"}},
    "config.kafka.producer.ssl.key.pem would stand": {"config/kafka/producer": {"ssl.key.pem": "-----BEGIN"}},
    "security.protocol contradicts": {
        "config/kafka/properties": {"security.protocol": "SSL"},
        "kafkaAuth/tls": {"enabled": True},
    },
    "set kafkaAuth.tls.enabled": {"kafkaAuth/tls": {"caSecret": {"name": "ca"}}},
    "kafkaAuth.sasl.existingSecret is required": {"kafkaAuth/sasl": {"mechanism": "PLAIN"}},
    "kafkaAuth.sasl.mechanism is required": {"kafkaAuth/sasl": {"existingSecret": "kafka-user"}},
    "tokenEndpoint is required": {"kafkaAuth/sasl": {"mechanism": "OAUTHBEARER", "existingSecret": "client"}},
    "choose one": {"autoscaling/enabled": True, "keda/enabled": True},
    "config.kafka.msk_iam_region is written by the chart": {"config/kafka/msk_iam_region": "eu-west-1"},
    "are two ways to sign in": {
        "kafkaAuth": {"mskIam": {"region": "eu-west-1"}, "sasl": {"mechanism": "PLAIN", "existingSecret": "user"}}
    },
    "contradicts kafkaAuth.mskIam.region": {
        "config/kafka/properties": {"security.protocol": "SASL_SSL"},
        "kafkaAuth": {"mskIam": {"region": "eu-west-1"}},
    },
    "keda.authenticationRef is required with kafkaAuth.mskIam.region": {
        "keda/enabled": True,
        "kafkaAuth": {"mskIam": {"region": "eu-west-1"}},
    },
    "keda.minReplicas is above": {"keda": {"minReplicas": 9, "maxReplicas": 4}},
    "autoscaling.enabled needs resources.requests.cpu": {
        "autoscaling/enabled": True,
        "resources": {"requests": {"cpu": None}},
    },
    "keda reads no config.kafka.properties": {
        "keda/enabled": True,
        "config/kafka/properties": {"security.protocol": "SSL"},
    },
    "keda.authenticationRef is required with OAUTHBEARER": {
        "keda/enabled": True,
        "kafkaAuth/sasl": {
            "mechanism": "OAUTHBEARER",
            "existingSecret": "client",
            "oauth": {"tokenEndpoint": "https://identity.example"},
        },
    },
    "keda reads the user's name": {
        "keda/enabled": True,
        "kafkaAuth/sasl": {"mechanism": "PLAIN", "existingSecret": "user", "username": "worker"},
    },
    "strimzi.cluster is required": {"strimzi": {"user": {"enabled": True}}},
    "training.enabled needs": {"training": {"enabled": True}, "model": {"secret": {"name": "model"}}},
    "training.enabled contradicts model.sha256": {"training": {"enabled": True}, "model/sha256": "ab" * 32},
    "training.enabled contradicts model.publicKey": {"training": {"enabled": True}, "model/publicKey": PUBLIC_KEY},
    "training.evaluation.data must be set": {"training": {"enabled": True}},
}


@pytest.mark.parametrize("sentence", FAULTS)
def test_a_contradiction_is_told_in_a_sentence(sentence: str) -> None:
    told = refusal(FAULTS[sentence])
    assert sentence in told
    (line,) = (line for line in told.splitlines() if sentence in line)
    assert re.fullmatch(r"- [a-z].*\.", line)


@pytest.mark.parametrize("named", [{"image/tag": "0.1.0-tensorrt"}, {"image/digest": f"sha256:{'ab' * 32}"}])
def test_tensorrt_is_taken_with_an_image_that_was_named(named: Object) -> None:
    values = changed(values_of("gpu"), {"config/inference/provider": "tensorrt", **named})
    assert "provider: tensorrt" in only("ConfigMap", objects(values))["data"]["worker.yaml"]


@pytest.mark.parametrize(
    ("about", "request_and_limit"),
    [
        ({}, ("1Gi", "1Gi")),
        ({"gpu/enabled": True}, ("3Gi", "3Gi")),
        ({"gpu/enabled": True, "resources/limits/memory": "8Gi"}, ("3Gi", "8Gi")),
        ({"resources/requests/memory": "2Gi", "resources/limits/memory": "2Gi"}, ("2Gi", "2Gi")),
        ({"resources": {"limits": None}}, ("1Gi", None)),
    ],
)
def test_a_worker_on_a_gpu_has_more_memory_unless_told_otherwise(
    about: Object, request_and_limit: tuple[str | None, str | None]
) -> None:
    made = objects(changed(values_of("minimal"), about))
    (container,) = only("StatefulSet", made)["spec"]["template"]["spec"]["containers"]
    told = (container["resources"].get(of) or {} for of in ("requests", "limits"))
    assert tuple(of.get("memory") for of in told) == request_and_limit


DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("about", "worker", "training"),
    [
        ({}, "anomaly-worker:0.1.0", "anomaly-worker:0.1.0-export"),
        ({"image/digest": DIGEST}, f"anomaly-worker@{DIGEST}", "anomaly-worker:0.1.0-export"),
        ({"training/image/digest": DIGEST}, "anomaly-worker:0.1.0", f"anomaly-worker@{DIGEST}"),
        (
            {"image/repository": "a/b", "training/image/tag": "new"},
            "a/b:0.1.0",
            "a/b:new",
        ),
        ({"training/image/repository": "c/d"}, "anomaly-worker:0.1.0", "c/d:0.1.0-export"),
    ],
)
def test_images_are_named_by_digest_or_tag(about: Object, worker: str, training: str) -> None:
    made = objects(changed(values_of("training"), about))
    of_worker = only("StatefulSet", made)["spec"]["template"]["spec"]
    of_training = only("CronJob", made)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert {one["image"] for one in of_worker["containers"]} == {worker}
    assert {one["image"] for one in [*of_training["initContainers"], *of_training["containers"]]} == {training}


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://models.example/m.onnx?X-Amz-Date=1&X-Amz-Signature=abc", True),
        ("https://models.example/m.onnx?sv=2024&sig=abc", True),
        ("https://models.example/m.onnx?raw=1&access_token=abc", True),
        ("https://models.example/m.onnx?private-token=abc", True),
        ("https://models.example/m.onnx?design=7", False),
        ("https://models.example/m.onnx?version=3", False),
        ("https://models.example/@machines/signature=3.onnx", False),
        ("${env:MODEL_URL}", False),
    ],
)
def test_a_url_with_a_secret_in_it_is_to_come_from_a_secret(url: str, refused: bool) -> None:  # noqa: FBT001
    values = changed(values_of("minimal"), {"model": {"url": url, "sha256": "ab" * 32}})
    if refused:
        with pytest.raises(HelmError, match=r"model\.url carries"):
            texts(values)
    else:
        assert url in only("ConfigMap", objects(values))["data"]["worker.yaml"]


def test_every_sentence_is_looked_at() -> None:
    source = (CHART / "templates" / "contradictions.yaml").read_text(encoding="utf-8")
    told = "\n".join(refusal(changes) for changes in FAULTS.values())
    for sentence in re.findall(r'append \$faults (?:\(printf )?"([^"]+)"', source):
        pattern = re.escape(sentence).replace("%s", ".+").replace("%d", ".+")
        assert re.search(pattern, told), sentence


def test_all_faults_are_told_at_once() -> None:
    told = refusal({"config/start": None, "model": {}})
    assert "config.start" in told
    assert "model must have" in told


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"replica": 3}, "replica"),
        ({"image/tags": "1"}, "tags"),
        ({"config/batch": {"max_event": 1}}, "max_event"),
        ({"config/batch": {"max_events": 0}}, "max_events"),
        ({"config/kafka/inputs": []}, "inputs"),
        ({"model/sha256": "abc"}, "sha256"),
        ({"model/publicKey": "-----BEGIN PRIVATE KEY-----"}, "publicKey"),
        ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
        ({"kafkaAuth/sasl/mechanism": "GSSAPI"}, "mechanism"),
        ({"kafkaAuth/mskIam/region": "Ireland"}, "region"),
    ],
)
def test_an_unknown_or_impossible_value_is_refused_with_its_place(changes: Mapping[str, object], place: str) -> None:
    assert place in refusal(changes)


def sections(values: Object, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The mappings in which the chart knows the names."""
    inner = {name: value for name, value in values.items() if isinstance(value, dict) and value and name != "kafka"}
    return [found for name, value in inner.items() for found in ((*place, name), *sections(value, (*place, name)))]


@pytest.mark.parametrize("section", sections(chart().values), ids=".".join)
def test_a_section_that_is_left_empty_is_named_or_does_no_harm(section: tuple[str, ...]) -> None:
    values = values_of("everything")
    *above, name = section
    node = values
    for step in above:
        node = node.setdefault(step, {})
    node[name] = None
    assert re.search(rf"missing propert.*'{name}'|\n- [a-z].*{name}.*\.|^$", fault(values))


def fault(values: Object) -> str:
    """What Helm says where it refuses the values."""
    try:
        texts(values)
    except HelmError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["output_topic", "dead_letter_topic"])
def test_what_is_missing_is_told_before_a_template_stumbles_over_it(name: str) -> None:
    with pytest.raises(HelmError, match=rf"config\.kafka\.{name} must be set"):
        texts(changed(values_of("everything"), {f"config/kafka/{name}": None}))


def test_values_for_other_charts_are_let_through_under_global() -> None:
    texts(changed(values_of("minimal"), {"global/anything": 1}))


# --- the chart as a document


def test_the_examples_of_the_page_are_accepted() -> None:
    page = (CHART.parent / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    least, strimzi, msk = (
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    )
    assert len(objects(least, release="machines")) == 7
    user = only("KafkaUser", objects({**least, **strimzi}, release="machines"))
    assert strimzi["kafkaAuth"]["sasl"]["existingSecret"] == user["metadata"]["name"]
    objects({**least, **msk}, release="machines")


def test_the_readme_is_what_the_comments_say() -> None:
    assert README.read_text(encoding="utf-8") == readme(), "run `python -m tests.helm.generate`"


def test_the_schema_has_the_comments_and_the_workers_settings() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema(), "run `python -m tests.helm.generate`"


def leaves(values: object, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(values, dict) or not values:
        return [place]
    return [leaf for name, inner in values.items() for leaf in leaves(inner, (*place, name))]


def test_every_value_has_a_comment_above_it_or_above_what_it_is_part_of() -> None:
    text = VALUES.read_text(encoding="utf-8")
    told = comments(text)
    for leaf in leaves(yaml.safe_load(text)):
        assert any(leaf[:length] in told for length in range(1, len(leaf) + 1)), leaf


def test_nothing_unknown_is_accepted_where_the_chart_knows_the_names() -> None:
    def look(node: Object, place: str) -> None:
        if "properties" in node:
            assert node.get("additionalProperties") is False, place
            for name, inner in node["properties"].items():
                look(inner, f"{place}.{name}")

    look(chart().schema, "values")


def test_one_kind_a_template() -> None:
    for path in (CHART / "templates").rglob("*.yaml"):
        kinds = re.findall(r"^kind: (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(kinds) == (0 if path.stem == "contradictions" else 1), path.name


OTHERS: dict[type, list[object]] = {
    str: [
        *("other", "eu-west-7", "7m", "7d", "Always", "PLAIN", "tls", "auroc", "0 7 * * *", "https://other.example/"),
        *("kafka.strimzi.io/v1beta2", "7" * 64, f"sha256:{'7' * 64}", PUBLIC_KEY.replace("MCow", "MCoW")),
    ],
    bool: [True, False],
    list: [[{"name": "other"}], ["--other"], []],
    dict: [{"other": "7"}, {"periodSeconds": 7}, {"lookback_offsets": 7}, {"limits": {"memory": "7Gi"}}],
}
"""What a value may be set to instead; the schema refuses most of these for most of the values."""


@cache
def texts_of_case(case: str) -> dict[str, str]:
    return texts(values_of(case))


def changes_something(key: tuple[str, ...], other: object) -> bool:
    """Whether any case of the table becomes something else with this value, or with these beside those of a mapping."""
    place = "/".join(key)
    changes = {f"{place}/{name}": inner for name, inner in other.items()} if isinstance(other, dict) else {place: other}
    for case in sorted(CASES, key=lambda case: case not in {"everything", "training", "keda"}):
        with contextlib.suppress(HelmError):
            if texts(changed(values_of(case), changes)) != texts_of_case(case):
                return True
    return False


@pytest.mark.parametrize(
    "key", [key for key in comments(VALUES.read_text(encoding="utf-8")) if key != ("global",)], ids=".".join
)
def test_every_value_changes_what_is_installed(key: tuple[str, ...]) -> None:
    default = value_at(chart().values, key)
    others = OTHERS.get(type(default)) or [default + 1, default / 2]
    assert any(changes_something(key, other) for other in others), "no template heeds it"


@pytest.mark.parametrize("case", CASES)
def test_helm_lint_has_nothing_to_say(case: str) -> None:
    report = lint(CHART, values_of(case), strict=True)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


def test_the_chart_carries_the_projects_version() -> None:
    pyproject = (CHART.parent / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "([^"]+)"$', pyproject, re.MULTILINE)
    assert chart().metadata["appVersion"] == version
