"""docs/quality.md names every option, part and configuration of the benchmark."""

import argparse
import re
from pathlib import Path

from export.benchmark import CONFIGURATIONS
from export.cli import _parser
from export.suite import parts_of

TEXT = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")


def test_every_option_is_on_the_page() -> None:
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    options = [option for action in commands.choices["benchmark"]._actions for option in action.option_strings]
    listed = re.findall(r"^\| `(--[\w-]+)", TEXT, re.MULTILINE)
    assert listed == [option for option in options if option not in {"-h", "--help", "--debug"}]


def test_every_part_is_on_the_page() -> None:
    (table,) = re.findall(r"^\| part \| files .*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    named = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(parts_of(Path("nowhere")))


def test_every_configuration_is_on_the_page() -> None:
    rows = dict(re.findall(r"^\| kind `(\w+)` \| (.*) \|$", TEXT, re.MULTILINE))
    told = {
        kind: " ".join(f"`--{name} {value}`" for name, value in options.items()) or "none"
        for kind, options in CONFIGURATIONS.items()
    }
    assert rows == told
