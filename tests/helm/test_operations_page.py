"""The page for operators, held to the chart and to the arithmetic that it tells."""

import re

from tests.helm.chart import CHART, chart, objects, only, values_of

PAGE = (CHART.parent / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_alert_has_a_part_of_the_page_and_no_other_has() -> None:
    groups = only("PrometheusRule", objects(values_of("gpu")))["spec"]["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == alerts


def test_the_values_that_it_names_are_the_charts() -> None:
    values = chart().values
    for section, name in re.findall(r"`(prometheusRule|resources|keda)\.([A-Za-z]+)", PAGE):
        assert name in values[section]


def test_the_memory_of_windows_is_what_the_sentence_above_the_table_says() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (\d+) \| ([\d.]+) MB \|$", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for entities, window, features, told in rows:
        row_bytes = 4 * int(features) + 8
        megabytes = int(entities.replace(",", "")) * (int(window) * row_bytes * 1.1 + 200 + 16) / 1e6
        assert told == f"{megabytes:.3g}"
