"""The Grafana dashboard: its shape, and its queries against a real Prometheus' parser and a real worker's metrics."""

import json
import re
import subprocess
from itertools import islice
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.job import Job, wait_until
from tests.end_to_end.stream import events
from tests.helm.chart import CHART, Object, objects, only, values_of
from tests.helm.prometheus import program, prometheus
from tests.topics import Topics

DASHBOARD: Object = json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
PANELS: list[Object] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
ON_A_GPU = {query for query in QUERIES if "anomaly_worker_gpu_" in query}
FILLED_IN = {"$namespace": "plant", "$release": "demo-anomaly-worker", "$__rate_interval": "2m"}


def filled(query: str) -> str:
    for name, value in FILLED_IN.items():
        query = query.replace(name, value)
    return query


def test_the_chart_hands_it_to_grafana_as_it_is() -> None:
    made = only("ConfigMap", objects(values_of("everything")), name="demo-anomaly-worker-dashboard")
    assert json.loads(made["data"]["anomaly-worker.json"]) == DASHBOARD
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "Kafka"}


def test_panels_have_names_numbers_and_places_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_query_asks_the_chosen_source_for_the_chosen_release() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            selectors = re.findall(r"anomaly_worker_\w+(\{[^}]*\})", target["expr"])
            assert len(selectors) == len(re.findall(r"anomaly_worker_\w+", target["expr"]))
            assert all('namespace="$namespace",pod=~"$release-[0-9]+"' in selector for selector in selectors)


def test_the_variables_are_those_that_the_queries_use() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps(DASHBOARD)))
    assert used == names


@pytest.mark.parametrize("place", range(len(QUERIES)))
def test_a_legend_names_labels_that_its_query_keeps(place: int) -> None:
    (legend,) = (t["legendFormat"] for p in PANELS for t in p["targets"] if t["expr"] == QUERIES[place])
    kept = re.search(r"by \(([^)]*)\)", QUERIES[place])
    labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert labels <= set(re.split(r",\s*", kept[1]) if kept else [])


def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{place}", "expr": filled(query)} for place, query in enumerate(QUERIES)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


def test_every_panel_has_something_to_show_of_a_worker_at_work(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap)
    job = Job(topics, tmp_path)
    job.write(list(islice(events(), 2000)))
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(only("PrometheusRule", objects(values_of("gpu")))["spec"]), encoding="utf-8")
    labels = {"namespace": "plant", "pod": "demo-anomaly-worker-0"}
    worker = job.start()
    try:
        worker.wait_until_ready()
        with prometheus(tmp_path, target=f"127.0.0.1:{worker.port}", labels=labels, rules=rules) as watching:

            def silent() -> list[str]:
                return [query for query in QUERIES if query not in ON_A_GPU and not watching.query(filled(query))]

            wait_until(lambda: not silent(), lambda: f"nothing to show: {silent()}", 30)
            wait_until(lambda: "unknown" not in watching.rules().values(), "the rules are evaluated", 10)
            assert set(watching.rules().values()) == {"ok"}
        kept = set(re.findall(r"^# TYPE (\w+)", worker.page("/metrics")[1], re.MULTILINE))
        assert {name for query in ON_A_GPU for name in re.findall(r"anomaly_worker_\w+", query)} <= kept
    finally:
        job.end()
        topics.delete_all()
