"""examples/compose/ held to the schema of compose files, to its own files, and to what worker and dashboard need.

No container engine runs where the tests do: nothing is started here.
"""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from schemas.settings import Settings
from worker.settings_file import load_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "compose"
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return document


COMPOSE = read("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def settings() -> Settings:
    return load_settings(FOLDER / "worker.yaml", environ={})


def test_it_is_a_compose_file() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(COMPOSE)


def test_the_schema_refuses_what_is_none() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({**COMPOSE, "servics": {}})


def test_whatever_is_mounted_or_waited_for_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (FOLDER / source).exists(), source
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()


def test_whatever_is_built_is_a_target_of_the_dockerfile() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    for service in SERVICES.values():
        if "build" in service:
            assert (FOLDER / service["build"]["context"] / "Dockerfile").exists()
            assert service["build"]["target"] in targets
            assert service["image"] == f"anomaly-worker:{service['build']['target']}"


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_workers_topics_are_made_and_its_model_is_trained() -> None:
    kafka = settings().kafka
    (script,) = SERVICES["topics"]["command"]
    for topic in (*kafka.input_topics, kafka.output_topic, kafka.dead_letter_topic):
        assert f" {topic}" in script
    assert settings().model.uri in SERVICES["train"]["command"][0]
    assert kafka.bootstrap_servers in str(SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"])
    assert SERVICES["events"]["command"][:2] == [kafka.bootstrap_servers, kafka.input_topics[0]]


def test_prometheus_asks_the_worker_and_labels_it_as_the_dashboard_asks() -> None:
    (job,) = read("prometheus.yaml")["scrape_configs"]
    (static,) = job["static_configs"]
    assert static["targets"] == [f"worker:{settings().http.port}"]
    assert re.fullmatch("(.*)-[0-9]+", static["labels"]["pod"])
    assert "namespace" in static["labels"]


def test_grafana_shows_the_charts_dashboard() -> None:
    (provider,) = read("grafana/dashboards.yaml")["providers"]
    (source,) = read("grafana/datasources.yaml")["datasources"]
    mounts = [volume.split(":") for volume in SERVICES["grafana"]["volumes"]]
    assert any(target.startswith(provider["options"]["path"]) and "helm/files" in made for made, target, _ in mounts)
    assert source["url"].removeprefix("http://").partition(":")[0] in SERVICES


def test_the_events_are_those_that_the_worker_reads() -> None:
    spec = importlib.util.spec_from_file_location("play", FOLDER / "play.py")
    assert spec is not None
    assert spec.loader is not None
    play = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(play)
    played = play.events(ROOT / "examples" / "machines" / "test")
    first = [next(played) for _ in range(12)]
    played.close()
    about = settings().events
    assert len({event[about.entity] for event in first[:6]}) == 6
    assert all(event[about.timestamp] and len(event) == 21 for event in first)
