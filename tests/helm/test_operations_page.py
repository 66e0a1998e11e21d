"""The pages for operators, held to the chart, to the recorded benchmark and to the arithmetic that they tell."""

import re

import pytest

from tests.helm.chart import CHART, Object, chart, objects, only, values_of

DOCS = CHART.parent / "docs"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")
OF_A_SCORE = {"model.version"}  # a field of the record, called as a value might be


def test_every_alert_has_a_part_of_the_page_and_no_other_has() -> None:
    groups = only("PrometheusRule", objects(values_of("gpu")))["spec"]["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == alerts


@pytest.mark.parametrize("page", ["operations.md", "kubernetes.md"])
def test_the_values_that_a_page_names_are_the_charts(page: str) -> None:
    named = re.findall(r"`([A-Za-z]+(?:\.[A-Za-z_0-9]+)+)", (DOCS / page).read_text(encoding="utf-8"))
    values = [name.split(".") for name in named if name.partition(".")[0] in chart().values and name not in OF_A_SCORE]
    assert len(values) > 10
    for place in values:
        assert is_known(place, chart().schema), ".".join(place)
        assert place[:2] != ["config", "model"], "the chart writes it"


def is_known(place: list[str], schema: Object) -> bool:
    """Whether a value, or a setting of the worker under `config`, is called so."""
    for name in place:
        if "properties" not in schema:
            return True  # Kubernetes knows what may stand there
        if name not in schema["properties"]:
            return False
        schema = schema["properties"][name]
    return True


def test_the_speed_and_the_memory_of_a_worker_are_the_recorded_runs() -> None:
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| anomaly-worker run.* \| ([\d,]+) \| ([\d.]+) \| (\d+) \|", text, re.MULTILINE)
    events, cpu_us, peak_mib = (float(figure.replace(",", "")) for figure in row)
    assert f"scored {round(events, -3):,.0f} events a second" in PAGE
    assert f"{cpu_us:.0f} microseconds of CPU each" in PAGE
    assert f"{peak_mib:.0f} MiB at its peak" in PAGE


def test_the_memory_of_windows_is_what_the_sentence_above_the_table_says() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (\d+) \| ([\d.]+) MB \|$", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for entities, window, features, told in rows:
        row_bytes = 4 * int(features) + 8
        megabytes = int(entities.replace(",", "")) * (int(window) * row_bytes * 1.1 + 200 + 16) / 1e6
        assert told == f"{megabytes:.3g}"
