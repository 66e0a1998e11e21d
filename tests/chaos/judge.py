"""A run's verdict: the oracle's over all records, and what only a whole run shows; as one line of JSON.

On failure the line holds the smallest witness of each kind: the record, and everything that came out for it.
"""

import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from schemas.checkpoint import Checkpoint
from tests.chaos.course import LOG_OF_OFFSETS, Committed, course_of
from tests.chaos.segments import open_transactions, transaction_of
from tests.chaos.traffic import Ledger
from tests.end_to_end.job import Job
from tests.log_record import LogRecord
from tests.oracle import Case, FaultsFound, Report, Verdicts, model_of, oldest_needed, verify
from tests.topics import ANSWER_TIMEOUT_S

CHECKPOINTS = 3_000
"""So many of a run are held to the rows that windows need, evenly over its course: each takes a millisecond."""

ZEROS = {"lost": "lost", "doubled": "doubled", "wrong window": "wrong_windows", "out of order": "out_of_order"}


@dataclass
class Verdict:
    """How many faults of each kind, and the first of each."""

    report: Report | None
    faults: Counter[str]
    witnesses: list[dict[str, object]] = field(default_factory=list)
    told: list[dict[str, object]] = field(default_factory=list)
    """All of them."""
    written_twice: int = 0
    """Events that the producer, whose answer was lost with a broker, sent again under a new epoch: each counts."""

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


class Complaint(NamedTuple):
    """What is wrong whatever came out."""

    kind: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen while the run went on."""

    outputs: Sequence[LogRecord]
    complaints: Sequence[Complaint]
    deleted: Mapping[tuple[str, int], int]  # records below may have been deleted


@dataclass(frozen=True, kw_only=True)
class Left:
    """What lies on the brokers when it is over, as a read_committed reader sees it."""

    inputs: Sequence[LogRecord]
    starts: Mapping[tuple[str, int], int]  # of the input's logs
    ends: Mapping[tuple[str, int], int]  # likewise
    outputs: Sequence[LogRecord]
    course: Sequence[Committed]  # of what was committed, from the first to the last
    committed: Mapping[tuple[str, int], int]
    unended: Sequence[str]  # transactions


def judge(job: Job, ledger: Ledger, seen: Seen, *, data: Path) -> Verdict:
    """Hold everything that came out against everything that went in; `data` is a broker's folder."""
    return hold(job.case(), ledger, seen, left_by(job, data), data=data)


def left_by(job: Job, data: Path, *, patience_s: float = ANSWER_TIMEOUT_S) -> Left:
    """Ask the brokers, once what is open had its time to end."""
    unended = []
    for topic in (*job.inputs, job.scores, job.dead):
        try:
            job.topics.wait_until_stable(topic, timeout_s=patience_s)
        except TimeoutError as failure:
            unended.append(f"{failure}: {open_transactions(data, topic)}")
    logs = {(topic, number): log for topic in job.inputs for number, log in job.topics.ends(topic).items()}
    return Left(
        inputs=job.topics.read(*job.inputs),
        starts={place: start for place, (start, _) in logs.items()},
        ends={place: end for place, (_, end) in logs.items()},
        outputs=job.topics.read(job.scores, job.dead),
        course=list(course_of(job.group, job.topics.read(LOG_OF_OFFSETS))),
        committed=job.committed(),
        unended=unended,
    )


def hold(case: Case, ledger: Ledger, seen: Seen, left: Left, *, data: Path) -> Verdict:
    """The verdict; it asks nobody, but for the brokers' folder in which it looks up whose transaction a witness is."""
    verdict = Verdict(None, Counter())
    for complaint in (*(Complaint("open transaction", what) for what in left.unended), *seen.complaints):
        verdict.note(complaint.kind, what=complaint.what)
    log = {record.place: record for record in left.inputs}
    _hold_log_against_ledger(verdict, ledger, log, left.starts)
    _hold_what_was_seen(verdict, seen.outputs, left.outputs)
    _hold_course(verdict, left)
    deleted_since = _uncertain_and_deleted(ledger, left.outputs, left.starts)
    inputs = list((ledger.visible | deleted_since | log).values())  # of a batch that was sent again the log knows best
    case = replace(case, committed=left.committed, deleted=seen.deleted)
    _hold_checkpoints(verdict, case, left.course, inputs)
    try:
        verdict.report = verify(
            case,
            inputs=inputs,
            scores=[record for record in left.outputs if record.topic == case.settings.kafka.output_topic],
            dead_letters=[record for record in left.outputs if record.topic == case.settings.kafka.dead_letter_topic],
        )
    except FaultsFound as found:
        _add_faults(verdict, found, left.outputs, data)
    return verdict


def _hold_what_was_seen(verdict: Verdict, then: Sequence[LogRecord], afterwards: Sequence[LogRecord]) -> None:
    """Who reads while the workers are struck reads what everybody reads later."""
    seen = {record.place: record for record in then}
    for record in afterwards:
        if (earlier := seen.pop(record.place, None)) != record:
            verdict.note("seen differently", place=record.place, what=f"{record} afterwards, {earlier} during the run")
    for place, record in seen.items():
        verdict.note("seen differently", place=place, what=f"{record} during the run, nothing afterwards")


def _hold_course(verdict: Verdict, left: Left) -> None:
    """Committed offsets never go back (I8), nor beyond what there is."""
    furthest: dict[tuple[str, int], int] = {}
    for topic, number, offset, _ in left.course:
        before = furthest.get((topic, number), 0)
        if offset < before:
            verdict.note("offset gone back", place=(topic, number, offset), what=f"{before} was committed before")
        furthest[topic, number] = max(offset, before)
    for place, offset in furthest.items():
        if offset > left.ends[place]:
            verdict.note("beyond the end", place=(*place, offset), what=f"the log ends at {left.ends[place]}")
    latest = {(topic, number): offset for topic, number, offset, _ in left.course}
    if latest != left.committed:
        verdict.note("course unknown", what=f"{left.committed} is committed, and its log tells of {latest}")


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
    written = {record.timestamp: record for record in ledger.visible.values()}
    for place in log.keys() - kept.keys():
        again = written.get(log[place].timestamp)
        if again is not None and _content(again) == _content(log[place]):
            verdict.written_twice += 1
        elif log[place].timestamp not in ledger.uncertain:
            verdict.note("ledger", place=place, what="it is in the log and was not acknowledged")


def _content(record: LogRecord) -> tuple[object, ...]:
    return record.key, record.value, record.timestamp


def _hold_checkpoints(
    verdict: Verdict, case: Case, committed: Sequence[Committed], inputs: Iterable[LogRecord]
) -> None:
    """Committed offsets told successors to read from rows that windows need, so far as they are there (I5)."""
    logs: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
    for record in sorted(inputs, key=lambda record: record.place):
        if record.offset >= case.deleted.get(record.place[:2], 0):
            logs[record.place[:2]].append(record)
    manifest = model_of(case.model).manifest
    verdicts = Verdicts(case.settings.events, manifest.feature_names)
    lookback = case.settings.lookback_offsets
    distinct = list(dict.fromkeys(committed))
    for topic, number, offset, metadata in distinct[:: max(1, len(distinct) // CHECKPOINTS)]:
        log = logs[topic, number]
        first = bisect_right(log, offset - lookback, key=lambda record: record.offset)
        needed = oldest_needed(
            log[first : bisect_left(log, offset, key=lambda record: record.offset)],
            offset,
            manifest=manifest,
            lookback=lookback,
            verdicts=verdicts,
        )
        checkpoint = Checkpoint.decode(metadata)
        if checkpoint is None or checkpoint.lo > needed:
            what = f"{metadata!r}, where windows need offset {needed}"
            verdict.note("a bad checkpoint", place=(topic, number, offset), what=what)


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
