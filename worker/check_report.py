"""What `check` saw and found, told to people as lines or to programs as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.text import Text

from worker.errors import ExitCode
from worker.finding import Finding
from worker.kafka_survey import KafkaFacts, TopicFacts
from worker.sample_findings import Estimate
from worker.sample_survey import SampleFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was seen, and what is to be changed."""

    model: str
    provider: str
    kafka: KafkaFacts
    sample: SampleFacts | None
    """None where no input topic can be read."""
    estimate: Estimate | None
    findings: Sequence[Finding]

    @property
    def exit_code(self) -> ExitCode:
        """Advice alone is no failure."""
        return ExitCode.FAILED if any(one.level == "problem" for one in self.findings) else ExitCode.DONE


def as_json(report: Report) -> str:
    """For programs."""
    sample = report.sample
    content = {
        "model": report.model,
        "provider": report.provider,
        "topics": {name: topic.partitions for name, topic in report.kafka.topics.items()},
        "sample": None if sample is None else asdict(sample) | {"per_day": sample.per_day},
        "estimate": None if report.estimate is None else asdict(report.estimate),
        "findings": [asdict(finding) for finding in report.findings],
    }
    return json.dumps(content, indent=2)


def print_report(report: Report, console: Console) -> None:
    """For people."""
    for name, text in _facts(report):
        console.print(Text.assemble((f"{name:<13} ", "bold"), text))
    for finding in report.findings:
        style = "bold red" if finding.level == "problem" else "yellow"
        console.print(Text.assemble("\n", (finding.level, style), f" ({finding.subject}) {finding.sentence}."))
        console.print(Text(f"  -> {finding.remedy}"))
    console.print(Text(f"\n{_verdict(report.findings)}"))


def _verdict(findings: Sequence[Finding]) -> str:
    problems = sum(finding.level == "problem" for finding in findings)
    if not findings:
        return "Nothing needs to change."
    return f"To change: {problems}. To consider: {len(findings) - problems}."


def _facts(report: Report) -> list[tuple[str, str]]:
    rows = [("model", report.model), ("provider", report.provider)]
    rows += [("topic", _topic_line(report.kafka, topic)) for topic in report.kafka.topics.values()]
    committed = len(report.kafka.group.committed)
    rows.append(("group", f"has committed {committed} partitions" if committed else "has not started yet"))
    if report.sample is not None and report.estimate is not None:
        rows += _sample_rows(report.sample, report.estimate)
    return rows


def _topic_line(kafka: KafkaFacts, topic: TopicFacts) -> str:
    held = sum(len(log) for log in kafka.logs if log.partition.topic == topic.name)
    parts = [f"{topic.name}: {topic.partitions} partitions"]
    if held:
        parts.append(f"{held:,} offsets")
    if topic.config is not None and "retention.ms" in topic.config:
        parts.append(f"retention {_days(int(topic.config['retention.ms']))}")
    return ", ".join(parts)


def _days(span_ms: int) -> str:
    return "without limit" if span_ms < 0 else f"{span_ms / 86_400_000:.3g} days"


def _sample_rows(sample: SampleFacts, estimate: Estimate) -> list[tuple[str, str]]:
    outcome = f"{sample.valid:,} valid, {sum(sample.refused.values()):,} refused, {sample.skipped:,} skipped"
    seen = f"{_number(estimate.alarms_a_day)} as the sample scores ({sample.above} of {sample.scored:,} windows)"
    return [
        ("sample", f"{sample.records:,} records: {outcome}"),
        ("entities", f"about {sample.entities:,}, {_number(estimate.rows_an_entity)} rows each within the lookback"),
        ("rate", f"{_number(sample.per_day)} events a day"),
        ("alarms a day", f"{seen}, {_number(estimate.promised_alarms_a_day)} as the model promises"),
        ("memory", f"{_about(estimate.memory_bytes / 1e6)} MB of windows, if one worker has all partitions"),
        ("refill", f"{_about(estimate.refill_s)} s after a restart, likewise"),
    ]


def _about(value: float) -> str:
    return f"about {value:,.1f}" if value >= 0.1 else "under 0.1"


def _number(value: float | None) -> str:
    if value is None:
        return "an unknown number of"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
