"""Settings in, a report out: will a worker with these settings do its job on these topics, and what to change if not.

It composes: the brokers' facts and a sample's numbers are gathered, judged and printed. Nothing is consumed for the
group.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from rich.console import Console

from schemas.settings import Settings
from worker.batch import Records
from worker.check_report import Report, as_json, print_report
from worker.detector import Detector, ExplainRule
from worker.formats import event_format
from worker.kafka_findings import kafka_findings
from worker.kafka_log import KafkaLog
from worker.kafka_survey import KafkaFacts, survey
from worker.log_slice import Slice, newest
from worker.model_store import Artifact, load_artifact
from worker.sample_findings import estimate, sample_findings
from worker.sample_survey import survey_sample

SAMPLE_RECORDS = 2_000

_EXAMPLES = """\
Looks at brokers, topics, rights and the group, puts the newest events through the model, and says what to change. It
joins no group, commits nothing and writes nothing; the brokers only note one unused transactional.id for a week.

examples:
  anomaly-worker check --config worker.yaml
  anomaly-worker check --config worker.yaml --sample 50000
  anomaly-worker check --config worker.yaml --json | jq .findings

exit codes: 0 nothing must change (there may be advice), 1 a problem was found or no broker answered,
2 wrong settings, 3 the artifact is refused
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes beside `--config`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--sample",
        type=_positive,
        default=SAMPLE_RECORDS,
        metavar="N",
        help="events to try the model on, the newest of each partition (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The command. Raises ConfigError, ArtifactError, BrokerError."""
    report = examine(settings, sample_records=arguments.sample)
    if arguments.json:
        print(as_json(report))  # noqa: T201  the command's output
    else:
        print_report(report, Console(highlight=False, soft_wrap=True))
    return report.exit_code


def examine(settings: Settings, *, sample_records: int) -> Report:
    """Gather and judge. Raises ConfigError, ArtifactError, BrokerError."""
    artifact = load_artifact(settings.model.uri, sha256=settings.model.sha256, public_key=settings.model.public_key)
    event_format(settings.events, artifact.manifest.feature_names)  # settings that do not fit the model end here
    detector = Detector(
        artifact,
        provider=settings.inference.provider,
        threads=settings.inference.threads,
        explain=ExplainRule(when="never", threshold=settings.alert.threshold),
    )
    with KafkaLog(settings) as log:
        facts = survey(log, settings)
        findings = kafka_findings(settings, facts)
        readable = [one for one in facts.logs if _readable(facts, one)]
        batches = _sample(log, newest(readable, sample_records)) if readable else []
    sample = survey_sample(batches, settings, artifact.manifest, detector) if readable else None
    if sample is not None:
        findings = [*findings, *sample_findings(settings, artifact.manifest, sample, facts.logs)]
    return Report(
        model=_model_line(artifact),
        provider=detector.provider,
        kafka=facts,
        sample=sample,
        estimate=None if sample is None else estimate(settings, artifact.manifest, sample, facts.logs),
        findings=sorted(findings, key=lambda one: one.level != "problem"),
    )


def _readable(facts: KafkaFacts, log: Slice) -> bool:
    operations = facts.topics[log.partition.topic].operations
    return operations is None or "READ" in operations


def _sample(log: KafkaLog, slices: Sequence[Slice]) -> list[Records]:
    """One batch for each partition that has records."""
    batches = []
    for one in slices:
        pieces = [piece.records for piece in log.read([one], max_records=len(one) + 1)]
        if any(map(len, pieces)):
            batches.append(_joined(pieces))
    return batches


def _joined(pieces: Sequence[Records]) -> Records:
    """The records of one partition in one batch; headers are not kept, nothing here looks at them."""
    return Records(
        partitions=pieces[0].partitions,
        partition=np.concatenate([piece.partition for piece in pieces]),
        offset=np.concatenate([piece.offset for piece in pieces]),
        timestamp=np.concatenate([piece.timestamp for piece in pieces]),
        key=[key for piece in pieces for key in piece.key],
        value=[value for piece in pieces for value in piece.value],
        headers=lambda _: (),
    )


def _model_line(artifact: Artifact) -> str:
    manifest = artifact.manifest
    return (
        f"{manifest.name} {manifest.version} ({artifact.sha256[:12]}): {len(manifest.features)} features,"
        f" windows of {manifest.window}, alarm rate {manifest.alarm_rate:g}"
    )
