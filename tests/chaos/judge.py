"""A run's verdict: the oracle's over all records, and what only a whole run shows; as one line of JSON.

On failure the line holds the smallest witness of each kind: the record, and everything that came out for it.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.checkpoint import Checkpoint
from tests.chaos.segments import open_transactions, transaction_of
from tests.chaos.traffic import Ledger
from tests.end_to_end.job import Job
from tests.log_record import LogRecord
from tests.oracle import FaultsFound, Report, Verdicts, model_of, oldest_needed, verify

ZEROS = {"lost": "lost", "doubled": "doubled", "wrong window": "wrong_windows", "out of order": "out_of_order"}


@dataclass
class Verdict:
    """How many faults of each kind, and the first of each."""

    report: Report | None
    faults: Counter[str]
    witnesses: list[dict[str, object]] = field(default_factory=list)
    told: list[dict[str, object]] = field(default_factory=list)
    """All of them."""

    def note(self, kind: str, **about: object) -> None:
        """One more."""
        self.told.append({"kind": kind, **about})
        if not self.faults[kind]:
            self.witnesses.append(self.told[-1])
        self.faults[kind] += 1

    @property
    def zeros(self) -> dict[str, int]:
        """The counts that must be 0."""
        counts = {name: self.faults.get(kind, 0) for kind, name in ZEROS.items()}
        return counts | {"other_faults": self.faults.total() - sum(counts.values())}


def judge(
    job: Job,
    ledger: Ledger,
    *,
    deleted: Mapping[tuple[str, int], int],
    seen_at_work: Sequence[LogRecord],
    complaints: Sequence[str],
    checkpoints: Mapping[tuple[str, int, int], str],
    data: Path,
) -> Verdict:
    """Hold everything that came out against everything that went in."""
    verdict = Verdict(None, Counter())
    for topic in (*job.inputs, job.scores, job.dead):
        try:
            job.topics.wait_until_stable(topic)
        except TimeoutError as failure:
            verdict.note("open transaction", what=f"{failure}: {open_transactions(data, topic)}")
    outputs = job.topics.read(job.scores, job.dead)
    log = {record.place: record for record in job.topics.read(*job.inputs)}
    starts = {(topic, number): start for topic in job.inputs for number, (start, _) in job.topics.ends(topic).items()}
    for complaint in complaints:
        verdict.note("unlawful", what=complaint)
    _hold_log_against_ledger(verdict, ledger, log, starts)
    seen = {record.place: record for record in seen_at_work}
    for record in outputs:
        if (then := seen.pop(record.place, None)) != record:
            verdict.note("seen differently", place=record.place, what=f"{record} afterwards, {then} during the run")
    for place, record in seen.items():
        verdict.note("seen differently", place=place, what=f"{record} during the run, nothing afterwards")
    deleted_since = _uncertain_and_deleted(ledger, outputs, starts)
    inputs = ledger.visible | deleted_since | log  # where a batch was sent again, the log knows offsets best
    _hold_checkpoints(verdict, job, checkpoints, inputs.values(), deleted)
    try:
        verdict.report = verify(
            job.case(committed=job.committed(), deleted=deleted),
            inputs=list(inputs.values()),
            scores=[record for record in outputs if record.topic == job.scores],
            dead_letters=[record for record in outputs if record.topic == job.dead],
        )
    except FaultsFound as found:
        _add_faults(verdict, found, outputs, data)
    return verdict


def _uncertain_and_deleted(
    ledger: Ledger, outputs: Sequence[LogRecord], starts: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int, int], LogRecord]:
    """Events of which nobody knows whether they were written, where they were if they were: answered, and gone since.

    What came out has the event's timestamp, and says where it was. An event has one place.
    """
    left = dict(ledger.uncertain)
    found: dict[tuple[str, int, int], LogRecord] = {}
    for output in outputs:
        topic, number, offset = place = _answers(output)
        if (
            offset < starts[topic, number]
            and place not in ledger.visible
            and (event := left.pop(output.timestamp, None))
        ):
            found[place] = event._replace(topic=topic, partition=number, offset=offset)
    return found


def _hold_log_against_ledger(
    verdict: Verdict,
    ledger: Ledger,
    log: Mapping[tuple[str, int, int], LogRecord],
    starts: Mapping[tuple[str, int], int],
) -> None:
    """The broker kept what it acknowledged, as it was; else the run proves nothing."""
    kept = {place: record for place, record in ledger.visible.items() if place[2] >= starts[place[:2]]}
    for place in kept.keys() - log.keys():
        verdict.note("ledger", place=place, what="it was acknowledged and is not in the log")
    for place in kept.keys() & log.keys():
        if _content(kept[place]) != _content(log[place]):
            verdict.note("ledger", place=place, what=f"{kept[place]} was acknowledged and {log[place]} is in the log")
    for place in log.keys() - kept.keys():
        if log[place].timestamp not in ledger.uncertain:
            verdict.note("ledger", place=place, what="it is in the log and was not acknowledged")


def _content(record: LogRecord) -> tuple[object, ...]:
    return record.key, record.value, record.timestamp


def _hold_checkpoints(
    verdict: Verdict,
    job: Job,
    checkpoints: Mapping[tuple[str, int, int], str],
    inputs: Iterable[LogRecord],
    deleted: Mapping[tuple[str, int], int],
) -> None:
    """Each committed offset told its successor to read from rows that windows need, so far as they are there (I5)."""
    logs: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
    for record in sorted(inputs, key=lambda record: record.place):
        if record.offset >= deleted.get(record.place[:2], 0):
            logs[record.place[:2]].append(record)
    manifest = model_of(job.model.read_bytes()).manifest
    verdicts = Verdicts(job.settings.events, manifest.feature_names)
    for place, metadata in checkpoints.items():
        needed = oldest_needed(
            logs[place[:2]],
            place[2],
            manifest=manifest,
            lookback=job.settings.lookback_offsets,
            verdicts=verdicts,
        )
        checkpoint = Checkpoint.decode(metadata)
        if checkpoint is None or checkpoint.lo > needed:
            verdict.note("a bad checkpoint", place=place, what=f"{metadata!r}, where windows need offset {needed}")


def _add_faults(verdict: Verdict, found: FaultsFound, outputs: Sequence[LogRecord], data: Path) -> None:
    for fault in sorted(found.faults, key=lambda fault: fault.place):
        out: list[dict[str, object]] = []
        if not verdict.faults[fault.kind]:
            out = [_in_json(record, data) for record in outputs if _answers(record) == fault.place]
        verdict.note(fault.kind, place=fault.place, what=fault.what, out=out)


def _answers(record: LogRecord) -> tuple[str, int, int]:
    """The input record that an output is about."""
    headers = {name: (value or b"").decode() for name, value in record.headers}
    if "__streams.errors.topic" in headers:
        topic, number, offset = (headers[f"__streams.errors.{part}"] for part in ("topic", "partition", "offset"))
        return topic, int(number), int(offset)
    source = json.loads(record.value or b"")["source"]
    return source["topic"], source["partition"], source["offset"]


def _in_json(record: LogRecord, data: Path) -> dict[str, object]:
    """An output with the transaction that it came in, which names the worker."""
    value = (record.value or b"").decode(errors="replace")[:1500]
    return {"place": record.place, "transaction": transaction_of(data, *record.place), "value": value}
