"""A run's verdict: the oracle's over all records, and what only a whole run shows; as one line of JSON.

On failure the line holds the smallest witness of each kind: the record, and everything that came out for it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.segments import open_transactions, transaction_of
from tests.chaos.traffic import Ledger
from tests.end_to_end.job import Job
from tests.log_record import LogRecord
from tests.oracle import FaultsFound, Report, verify

ZEROS = {"lost": "lost", "doubled": "doubled", "wrong window": "wrong_windows", "out of order": "out_of_order"}


@dataclass
class Verdict:
    """How many faults of each kind, and the first of each."""

    report: Report | None
    faults: Counter[str]
    witnesses: list[dict[str, object]] = field(default_factory=list)

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
    data: Path,
) -> Verdict:
    """Hold everything that came out against everything that went in."""
    verdict = Verdict(None, Counter())
    for topic in (*job.inputs, job.scores, job.dead):
        try:
            job.topics.wait_until_stable(topic)
        except TimeoutError as failure:
            _note(verdict, "open transaction", f"{failure}: {open_transactions(data, topic)}")
    outputs = job.topics.read(job.scores, job.dead)
    log = {record.place: record for record in job.topics.read(*job.inputs)}
    starts = {(topic, number): start for topic in job.inputs for number, (start, _) in job.topics.ends(topic).items()}
    for complaint in complaints:
        _note(verdict, "unlawful", complaint)
    _hold_log_against_ledger(verdict, ledger, log, starts)
    seen = {record.place: record for record in seen_at_work}
    for record in outputs:
        if seen.pop(record.place, None) != record:
            _note(verdict, "seen differently", f"{record.place} was not seen so by who read it during the run")
    for place in seen:
        _note(verdict, "seen differently", f"{place} was seen during the run, and is not there afterwards")
    answered = {_answers(record) for record in outputs}
    deleted_since = {place: record for place, record in ledger.doubtful.items() if place in answered}
    inputs = ledger.visible | deleted_since | log  # where a batch was sent again, the log knows offsets best
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


def _note(verdict: Verdict, kind: str, what: str) -> None:
    if not verdict.faults[kind]:
        verdict.witnesses.append({"kind": kind, "what": what})
    verdict.faults[kind] += 1


def _hold_log_against_ledger(
    verdict: Verdict,
    ledger: Ledger,
    log: Mapping[tuple[str, int, int], LogRecord],
    starts: Mapping[tuple[str, int], int],
) -> None:
    """The broker kept what it acknowledged; else the run proves nothing."""
    kept = {place: record for place, record in ledger.visible.items() if place[2] >= starts[place[:2]]}
    for place in kept.keys() - log.keys():
        _note(verdict, "ledger", f"{place} was acknowledged and is not in the log")
    for place in log.keys() - kept.keys():
        if log[place].timestamp not in ledger.uncertain:
            _note(verdict, "ledger", f"{place} is in the log and was not acknowledged")


def _add_faults(verdict: Verdict, found: FaultsFound, outputs: Sequence[LogRecord], data: Path) -> None:
    for fault in sorted(found.faults, key=lambda fault: fault.place):
        if not verdict.faults[fault.kind]:
            out = [_in_json(record, data) for record in outputs if _answers(record) == fault.place]
            verdict.witnesses.append({"kind": fault.kind, "place": fault.place, "what": fault.what, "out": out})
        verdict.faults[fault.kind] += 1


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
