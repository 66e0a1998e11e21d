"""What the README and the pages tell users is held to the code."""

import argparse
import re
import shlex
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from export.cli import _parser as export_parser
from schemas.dead_letter import REASONS
from schemas.score_record import ScoreRecord
from worker.cli import _parser as worker_parser
from worker.demo.conclusion import NEXT_COMMANDS
from worker.errors import ExitCode
from worker.metrics import Metrics
from worker.settings_file import load_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("helm/*.md")])
ROW = re.compile(r"^\| `(anomaly_worker_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
PARSERS = {"anomaly-worker": worker_parser, "anomaly-export": export_parser}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    kept = string.ascii_lowercase + string.digits + "-_ "
    return {"".join(c for c in title.lower() if c in kept).replace(" ", "-") for title in titles}


def commands(text: str) -> Iterator[list[str]]:
    """Each of our commands in the shell blocks, without what is piped behind it."""
    for block in blocks(text, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in PARSERS:
                yield words[: words.index("|")] if "|" in words else words


def subcommands(parser: argparse.ArgumentParser) -> set[str]:
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return set(found.choices)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_the_pages_can_be_typed(page: Path) -> None:
    for program, *arguments in commands(page.read_text(encoding="utf-8")):
        PARSERS[program]().parse_args(arguments)


def test_the_readme_names_every_command() -> None:
    named = set(re.findall(r"^\| `(anomaly-\w+ \w+)` \|", README, re.MULTILINE))
    assert named == {f"{program} {name}" for program, parser in PARSERS.items() for name in subcommands(parser())}


def test_the_three_commands_are_those_that_the_demo_ends_with() -> None:
    assert f"```sh\n{NEXT_COMMANDS}\n```" in README


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z-]+)", _code(page))}
    assert {"demo", "demo-kafka", "test", "check", "bench", "broker"} <= named <= targets


def _code(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return "\n".join([*blocks(text, "sh"), *re.findall(r"`([^`\n]+)`", prose(text))])


def test_the_exit_codes_are_those_of_the_code() -> None:
    assert [int(code) for code in re.findall(r"^\| (\d) \|", README, re.MULTILINE)] == [int(code) for code in ExitCode]


def test_the_settings_file_is_accepted_as_it_stands(tmp_path: Path) -> None:
    whole, sensors = blocks(README, "yaml")
    path = tmp_path / "worker.yaml"
    path.write_text(whole, encoding="utf-8")
    load_settings(path, environ={})
    path.write_text(whole + sensors, encoding="utf-8")
    assert load_settings(path, environ={}).events.where == {"sensor": ["temperature"]}


def test_the_score_record_is_one() -> None:
    (record,) = blocks(README, "json")
    ScoreRecord.model_validate_json(record)


def test_the_named_reasons_of_dead_letters_exist() -> None:
    (sentence,) = re.findall(r"`anomaly-worker.reason` \(such as ([^)]*)\)", README)
    assert set(re.findall(r"`(\w+)`", sentence)) <= set(REASONS)


def test_the_readme_lists_every_metric_with_its_type_and_labels() -> None:
    listed = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(README)}
    assert listed == {name: (kind, frozenset(labels)) for name, kind, labels in exposed()}


def exposed() -> Iterator[tuple[str, str, set[str]]]:
    """Name, type and labels of each metric, once every one of them has a sample."""
    metrics = Metrics()
    for collector in list(metrics.registry._collector_to_names):
        labels = getattr(collector, "_labelnames", ())
        if labels:
            collector.labels(*labels)
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        yield name, family.type, labels


def test_the_alerts_ask_for_metrics_that_exist() -> None:
    (alerts,) = blocks(README, "promql")
    known = {name: labels for name, _, labels in exposed()}
    for name in re.findall(r"anomaly_worker_\w+", alerts):
        assert name in known
    for name, selector in re.findall(r"(anomaly_worker_\w+)\{(\w+)=", alerts):
        assert selector in known[name]


def test_the_stages_and_outcomes_are_those_of_the_corridor() -> None:
    corridor = (ROOT / "worker/pipeline.py").read_text(encoding="utf-8")
    stages = set(re.findall(r'\.stage\("(\w+)"', corridor)) | set(re.findall(r'"(\w+)": \w+_s - \w+_s', corridor))
    assert stages == _quoted("anomaly_worker_stage_seconds")
    outcomes = set(re.findall(r'\.transaction\("(\w+)"', corridor))
    assert outcomes == _quoted("anomaly_worker_transactions_total")


def _quoted(metric: str) -> set[str]:
    (meaning,) = re.findall(rf"^\| `{metric}` \| \w+ \|[^|]*\|([^|]+)\|", README, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", meaning))


def test_the_map_lists_every_file_once() -> None:
    listed = re.findall(r"^((?:worker|export|schemas)/\S+\.py) +\S", README, re.MULTILINE)
    files = [
        str(path.relative_to(ROOT))
        for package in ("worker", "export", "schemas")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    assert sorted(listed) == sorted(files)


def test_the_map_lists_the_folders() -> None:
    (folders,) = re.findall(r"^schemas/ +.*?(?=\n\n)", README, re.DOTALL | re.MULTILINE)
    for folder in re.findall(r"^(\S+)/ ", folders, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


def test_every_extra_is_named_and_no_other() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (section,) = re.findall(r"^\[project\.optional-dependencies\]\n(.*?)^\[", pyproject, re.DOTALL | re.MULTILINE)
    (table,) = re.findall(r"^\| extra \|.*?(?=\n\n)", README, re.DOTALL | re.MULTILINE)
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", line.split("|")[1])}
    assert named == set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))


def test_the_examples_of_settings_on_the_kafka_page_are_accepted(tmp_path: Path) -> None:
    whole = yaml.safe_load(blocks(README, "yaml")[0])
    secret = tmp_path / "kafka-password"
    secret.write_text("hunter2\n", encoding="utf-8")
    path = tmp_path / "worker.yaml"
    kafka = []
    for block in blocks((ROOT / "docs/kafka.md").read_text(encoding="utf-8"), "yaml"):
        extra = yaml.safe_load(block.replace("/run/secrets/kafka-password", str(secret)))
        path.write_text(yaml.safe_dump({**whole, "kafka": whole["kafka"] | extra["kafka"]}), encoding="utf-8")
        kafka.append(load_settings(path, environ={}).kafka)
    with_password, with_identity = kafka
    assert with_password.properties["sasl.password"] == "hunter2"
    assert with_identity.msk_iam_region == "eu-west-1"


def test_no_metric_has_an_entity_for_a_label() -> None:
    assert not [name for name, _, labels in exposed() if labels & {"entity", "key", "offset"}]
