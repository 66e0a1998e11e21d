"""What `check` saw and found, told to people as lines or to programs as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.text import Text

from worker.errors import ExitCode
from worker.finding import Finding, counted
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
    rows.append(("group", f"has committed {counted(committed, 'partition')}" if committed else "has not started yet"))
    if report.sample is not None and report.estimate is not None:
        rows += _sample_rows(report.sample, report.estimate)
    return rows


def _topic_line(kafka: KafkaFacts, topic: TopicFacts) -> str:
    held = sum(len(log) for log in kafka.logs if log.partition.topic == topic.name)
    parts = [f"{topic.name}: {counted(topic.partitions, 'partition')}"]
    if held:
        parts.append(counted(held, "offset"))
    if topic.config is not None and "retention.ms" in topic.config:
        parts.append(f"retention {_days(int(topic.config['retention.ms']))}")
    return ", ".join(parts)


def _days(span_ms: int) -> str:
    days = f"{span_ms / 86_400_000:.3g}"
    return "without limit" if span_ms < 0 else f"{days} {'day' if days == '1' else 'days'}"


def _sample_rows(sample: SampleFacts, estimate: Estimate) -> list[tuple[str, str]]:
    outcome = f"{sample.valid:,} valid, {sum(sample.refused.values()):,} refused, {sample.skipped:,} skipped"
    return [
        ("sample", f"{counted(sample.records, 'record')}: {outcome}"),
        ("entities", _entities(sample, estimate)),
        ("rate", _rate(sample.per_day)),
        ("alarms a day", _alarms(sample, estimate)),
        ("memory", f"{_about(estimate.memory_bytes / 1e6)} MB of windows, if one worker has all partitions"),
        ("refill", f"{_about(estimate.refill_s)} s after a restart, likewise"),
    ]


def _entities(sample: SampleFacts, estimate: Estimate) -> str:
    if not sample.entities or estimate.rows_an_entity is None:
        return "none was seen"
    return f"about {sample.entities:,}, {_number(estimate.rows_an_entity)} rows each within the lookback"


def _rate(per_day: float | None) -> str:
    return "unknown: the sample's times do not tell" if per_day is None else f"{_number(per_day)} events a day"


def _alarms(sample: SampleFacts, estimate: Estimate) -> str:
    """As the sample scores, and as the model promises; where neither is known, what was seen."""
    windows = counted(sample.scored, "window")
    seen = f"{sample.above:,} of {windows}" if sample.scored else "no window was long enough to be judged"
    if estimate.promised_alarms_a_day is None:
        return f"unknown without a rate; above the threshold: {seen}" if sample.scored else f"unknown: {seen}"
    promised = f"{_number(estimate.promised_alarms_a_day)} as the model promises"
    if estimate.alarms_a_day is None:
        return f"{promised}; {seen}"
    return f"{_number(estimate.alarms_a_day)} as the sample scores ({seen}), {promised}"


def _about(value: float) -> str:
    return f"about {value:,.1f}" if value >= 0.1 else "under 0.1"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
