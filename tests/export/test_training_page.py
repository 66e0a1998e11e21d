"""The page for users names every option, and quotes tables in the form in which the commands that it names print them.

That the demo finds what the page says is tested with the demo.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from export.training_config import TrainingConfig
from tests.benchmarks.alarm_rates import FAMILIES, RATES
from tests.benchmarks.raw_scores import FORMS, ROWS_SEEN
from worker.demo.journey import ALARM_RATE

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_every_option_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in TrainingConfig.model_fields if f"--{name.replace('_', '-')}" not in text]
    assert missing == []


def first_cells(heading: str) -> list[str]:
    """Of each row of the table whose first heading this is."""
    (table,) = re.findall(
        rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [row.split("|")[1].strip() for row in table.splitlines()]


def rates_of(family: str) -> list[str]:
    """Of the table of families and alarm rates."""
    return re.findall(rf"^\| `{family}` \| ([\d.]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_tables_have_the_rows_that_are_measured() -> None:
    assert [rates_of(family) for family in FAMILIES] == [[str(rate) for rate in RATES]] * len(FAMILIES)
    assert first_cells("raw score") == list(FORMS)
    assert first_cells("rows seen of 32") == [str(rows) for rows in ROWS_SEEN]
    assert ALARM_RATE in RATES


def test_the_commands_that_measure_exist() -> None:
    named = re.findall(r"`python -m ([\w.]+)`", PAGE.read_text(encoding="utf-8"))
    assert {"tests.benchmarks.alarm_rates", "tests.benchmarks.large_file", "tests.benchmarks.raw_scores"} == set(named)
    assert all(find_spec(name) for name in named)
