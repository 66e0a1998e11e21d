"""The page on benchmarks names every command and every option."""

from pathlib import Path

from tests.benchmarks.throughput import _parser

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
STARTED_BY_OTHERS = {"hand_written", "pass_through", "throughput"}  # the last one by `make bench`


def test_every_command_is_on_the_page() -> None:
    commands = {path.stem for path in FOLDER.glob("*.py") if "\nif __name__ == " in path.read_text()}
    assert len(commands) > len(STARTED_BY_OTHERS)
    missing = [name for name in commands - STARTED_BY_OTHERS if f"`python -m tests.benchmarks.{name}`" not in PAGE]
    assert missing == []


def test_every_option_is_on_the_page_with_its_default() -> None:
    for action in _parser()._actions:
        if action.dest == "help":
            continue
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{action.option_strings[0]} ")]
        if isinstance(action.default, int):
            assert row.endswith(f"| {action.default:,} |")
