"""The alerts of the chart: what makes each fire, and what does not, by Prometheus' own rule engine."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CHART, Object, objects, only, values_of
from tests.helm.prometheus import program
from tests.test_readme import exposed

SELECTOR = 'namespace="plant",pod="demo-anomaly-worker-0"'
OTHERS = 'namespace="plant",pod="pumps-anomaly-worker-0"'
UP = {"build_info{version='1'}": "1+0x2000"}


def rules(case: str) -> Object:
    spec: Object = only("PrometheusRule", objects(values_of(case)))["spec"]
    return spec


def series(metrics: dict[str, str], *, labels: str = SELECTOR) -> list[dict[str, str]]:
    """Metrics without their prefix, with the labels that a scrape adds; a value a minute."""
    made = []
    for metric, values in metrics.items():
        name, _, own = metric.rstrip("}").partition("{")
        both = ",".join(filter(None, [own.replace("'", '"'), labels]))
        made.append({"series": f"anomaly_worker_{name}{{{both}}}", "values": values})
    return made


@dataclass(frozen=True)
class Story:
    """What the metrics do, up to a moment."""

    alert: str
    metrics: dict[str, str]
    at: str = "2h"
    labels: dict[str, str] = field(default_factory=dict)  # of the alert that fires
    case: str = "gpu"


STEADY = {**UP, "records_total{outcome='scored'}": "0+600x2000"}
PARTITION = {"topic": "t", "partition": "3"}
POD = {"pod": "demo-anomaly-worker-0"}
LAG = "lag{topic='t',partition='3'}"
REFILL = "refill_remaining{topic='t',partition='0'}"
SCORED, DEAD = "records_total{outcome='scored'}", "records_total{outcome='dead'}"
COMMITTED, ABORTED, LOST = (
    f"transactions_total{{outcome='{outcome}'}}" for outcome in ("committed", "aborted", "lost")
)

FIRING = {
    "no worker answers": Story("Gone", {}, at="10m", labels={"namespace": "plant"}),
    "lag is large and grows": Story("LagRising", {LAG: "0+500x200"}, labels=PARTITION),
    "events stop": Story("NoEvents", {**UP, SCORED: "0+600x60 36000x100"}),
    "no event ever came": Story("NoEvents", UP),
    "two of a hundred are dead": Story("DeadLetters", {SCORED: "0+98x200", DEAD: "0+2x200"}),
    "a feature is gone": Story(
        "FeatureMissing",
        {
            **STEADY,
            "missing_values_total{feature='t'}": "0+590x200",
            "missing_values_total{feature='u'}": "0+6x200",
        },
        labels={"feature": "t"},
    ),
    "a GPU is there and the CPU works": Story("OnCpu", {"provider_info{provider='cpu'}": "1x200"}, labels=POD),
    "transactions are lost": Story("Aborts", {COMMITTED: "0+90x200", LOST: "0+10x200"}),
    "windows are refilled for long": Story("RefillTooLong", {REFILL: "1000000-10x200"}, labels=POD),
    "alarms come too often": Story("AlarmRate", {**STEADY, "anomalies_total": "0+9x2000"}),
}
QUIET = {
    "a worker answers": Story("Gone", UP, at="10m"),
    "down to no worker is wanted": Story("Gone", {}, at="10m", case="keda"),
    "lag is large and falls": Story("LagRising", {LAG: "200000-500x200"}),
    "lag is large for a moment": Story("LagRising", {LAG: "0x115 50000x1 0x200"}),
    "lag grows and is small": Story("LagRising", {LAG: "0+5x200"}),
    "events come": Story("NoEvents", STEADY),
    "one event comes in ten minutes": Story("NoEvents", {**UP, SCORED: " ".join(f"{n}x9" for n in range(20))}),
    "a worker has just started": Story("NoEvents", UP, at="10m"),
    "the last worker went because no event came": Story(
        "NoEvents", {"build_info{version='1'}": "1x66 stale", SCORED: "0+600x60 36000x6 stale"}, at="78m", case="keda"
    ),
    "one of a thousand is dead": Story("DeadLetters", {SCORED: "0+999x200", DEAD: "0+1x200"}),
    "a feature is missing at times": Story(
        "FeatureMissing", {**STEADY, "missing_values_total{feature='t'}": "0+100x200"}
    ),
    "a GPU is there and works": Story("OnCpu", {"provider_info{provider='cuda'}": "1x200"}),
    "a rebalance aborts some transactions": Story("Aborts", {COMMITTED: "0+600x200", ABORTED: "0x100 5x100"}),
    "windows were refilled": Story("RefillTooLong", {REFILL: "100 50 0x200"}),
    "alarms come as promised": Story("AlarmRate", {**STEADY, "anomalies_total": "0+1x2000"}),
}


def as_promtool_takes_it(name: str, story: Story, *, fires: bool) -> Object:
    """One of its tests."""
    alert = f"AnomalyWorker{story.alert}"
    expected = [fired(story, alert)] if fires else []
    # Another release in the same namespace is none of this one's business.
    others = series({"lag{topic='t',partition='9'}": "0+5000x200", DEAD: "0+50x200"}, labels=OTHERS)
    return {
        "name": name,
        "interval": "1m",
        "input_series": series(story.metrics) + others,
        "alert_rule_test": [{"eval_time": story.at, "alertname": alert, "exp_alerts": expected}],
    }


def fired(story: Story, alert: str) -> Object:
    """The alert as it fires: Prometheus fills labels and value into its sentence."""
    (rule,) = (one for group in rules(story.case)["groups"] for one in group["rules"] if one["alert"] == alert)
    summary = rule["annotations"]["summary"].replace("{{ $value }}", "60000")
    for name, value in story.labels.items():
        summary = summary.replace(f"{{{{ $labels.{name} }}}}", value)
    return {"exp_labels": {**rule["labels"], **story.labels}, "exp_annotations": {"summary": summary}}


@pytest.mark.parametrize("case", ["gpu", "keda"])
def test_an_alert_fires_when_it_should_and_only_then(case: str, tmp_path: Path) -> None:
    stories = [
        as_promtool_takes_it(name, story, fires=table is FIRING)
        for table in (FIRING, QUIET)
        for name, story in table.items()
        if story.case == case
    ]
    assert stories
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules(case)), encoding="utf-8")
    path = tmp_path / "stories.yaml"
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": stories}
    path.write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run([program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_firing_and_a_quiet_story() -> None:
    alerts = {one["alert"].removeprefix("AnomalyWorker") for group in rules("gpu")["groups"] for one in group["rules"]}
    for table in (FIRING, QUIET):
        assert {story.alert for story in table.values()} == alerts


@pytest.mark.parametrize("case", ["gpu", "keda", "everything"])
def test_prometheus_takes_the_rules(case: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules(case)), encoding="utf-8")
    done = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_dashboard_ask_for_metrics_and_labels_that_a_worker_exposes() -> None:
    known = {name: labels for name, _, labels in exposed()}
    histograms = {name for name, kind, _ in exposed() if kind == "histogram"}
    known |= {f"{name}_{part}": known[name] | {"le"} for name in histograms for part in ("bucket", "count", "sum")}
    asked = (CHART / "files" / "dashboard.json").read_text(encoding="utf-8") + yaml.safe_dump(rules("gpu"))
    names = set(re.findall(r"anomaly_worker_\w+", asked))
    assert names
    assert names <= known.keys()
    for name, selector in re.findall(r"(anomaly_worker_\w+)\{([^}]*)\}", asked.replace('\\"', '"')):
        assert set(re.findall(r"(\w+)=", selector)) <= known[name] | {"namespace", "pod"}, name
