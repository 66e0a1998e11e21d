"""docs/evaluation.md names every option, metric and figure."""

import argparse
import json
import re
from pathlib import Path

import pytest

from export.cli import _parser, main
from export.evaluation import VUS_WINDOW
from export.verdict import METRICS
from tests.artifacts import make_artifact

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def tables() -> list[list[str]]:
    """Lines that begin with a bar and follow one another, outside code."""
    text = re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    return [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


@pytest.mark.parametrize("table", tables(), ids=lambda table: table[0])
def test_every_table_is_well_formed(table: list[str]) -> None:
    """A heading, a line below it, and rows of as many cells: a row by itself would be shown as text."""
    heading, line, *rows = table + [""] * (2 - len(table))
    assert re.fullmatch(r"\|(-+\|)+", line)
    assert rows != []
    assert {re.sub(r"`[^`]*`", "", row).count("|") for row in (heading, line, *rows)} == {line.count("|")}


def test_every_option_is_on_the_page() -> None:
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    options = [option for action in commands.choices["evaluate"]._actions for option in action.option_strings]
    assert [option for option in options if option not in TEXT and option not in {"-h", "--help", "--debug"}] == []


def test_every_metric_is_defined() -> None:
    (table,) = re.findall(r"^\| `--metric` \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    defined = [name for row in table.splitlines() for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]
    assert defined == list(METRICS)
    assert f"`--vus-window` is {VUS_WINDOW} rows" in TEXT


def test_every_figure_of_the_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y,bad\n0,0,0\n9,9,1\n", encoding="utf-8")
    model, data, written = make_artifact(tmp_path / "m.onnx"), tmp_path / "rows.csv", tmp_path / "figures.json"
    assert main(["evaluate", str(model), "--data", str(data), "--label", "bad", "--json", str(written)]) == 0
    figures = json.loads(written.read_text(encoding="utf-8"))["scores"]["causal"]["overall"]
    (listed,) = re.findall(r"no\ntime\): (.*?)\. The rules", TEXT, re.DOTALL)
    assert re.findall(r"`(\w+)`", listed) == list(figures)
