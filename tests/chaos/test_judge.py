"""The judge of a chaos run: right courses pass, and each kind of fault is reported where one is planted."""

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.checkpoint import Checkpoint
from tests.broker import Broker
from tests.chaos.course import Committed
from tests.chaos.judge import (
    Complaint,
    Left,
    Seen,
    Verdict,
    _hold_log_against_ledger,
    _uncertain_and_deleted,
    hold,
    left_by,
)
from tests.chaos.traffic import Ledger
from tests.end_to_end.job import Job
from tests.log_record import LogRecord
from tests.test_oracle import CASE, DEAD, INPUTS, SCORES, changed, swapped
from tests.topics import Topics

LOG = ("events", 0)
OUTPUTS = (*SCORES, *DEAD)


def committed(offset: int, *, lo: int = 0) -> Committed:
    return Committed(*LOG, offset, Checkpoint(lo=lo, spec="s", np=1).encode())


@dataclass(frozen=True)
class Course:
    """A run in which all went well, but for what is changed."""

    acknowledged: Sequence[LogRecord] = tuple(INPUTS)
    log: Sequence[LogRecord] = tuple(INPUTS)
    at_work: Sequence[LogRecord] = OUTPUTS
    afterwards: Sequence[LogRecord] = OUTPUTS
    committed: Sequence[Committed] = (committed(10), committed(20), committed(26))
    complaints: Sequence[Complaint] = ()
    unended: Sequence[str] = ()
    end: int = 26
    deleted: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def judged(self) -> Verdict:
        ledger = Ledger()
        for record in self.acknowledged:
            ledger.add(record)
        seen = Seen(outputs=self.at_work, complaints=self.complaints, deleted=self.deleted)
        left = Left(
            inputs=self.log,
            starts={LOG: self.log[0].offset},
            ends={LOG: self.end},
            outputs=self.afterwards,
            course=self.committed,
            committed={LOG: 26},
            unended=self.unended,
        )
        return hold(CASE, ledger, seen, left, data=Path("/nowhere"))


def published(scores: Sequence[LogRecord], dead: Sequence[LogRecord] = DEAD) -> Course:
    """Everybody saw these."""
    return Course(at_work=(*scores, *dead), afterwards=(*scores, *dead))


def test_a_right_course_passes() -> None:
    verdict = Course().judged()
    assert (verdict.witnesses, verdict.faults.total()) == ([], 0)
    assert set(verdict.zeros.values()) == {0}
    assert verdict.report is not None
    assert (verdict.report.scored, verdict.report.dead) == (23, 2)


def test_what_was_deleted_since_is_known_from_the_ledger() -> None:
    assert Course(log=INPUTS[8:]).judged().witnesses == []


PLANTED: Sequence[tuple[str, Course]] = [
    ("lost", published(SCORES[1:])),
    ("lost", published(SCORES, DEAD[1:])),
    ("doubled", published([*SCORES, SCORES[3]._replace(offset=99)])),
    ("doubled", published(SCORES, [*DEAD, DEAD[0]._replace(offset=99)])),
    ("wrong window", published(changed(4, lambda score: score["window"].update(digest="0" * 16)))),
    ("wrong window", published(changed(9, lambda score: score["window"].update(first_offset=0)))),
    ("out of order", published(swapped())),
    ("offset gone back", Course(committed=(committed(20), committed(19), committed(26)))),
    ("offset gone back", Course(committed=(committed(10), committed(26), committed(10), committed(26)))),
    ("beyond the end", Course(end=25)),
    ("course unknown", Course(committed=(committed(10), committed(20)))),
    ("course unknown", Course(committed=())),
    ("seen differently", Course(at_work=OUTPUTS[1:])),
    ("seen differently", Course(at_work=(*OUTPUTS, SCORES[3]._replace(offset=99)))),
    ("seen differently", Course(at_work=(SCORES[0]._replace(value=SCORES[1].value), *OUTPUTS[1:]))),
    ("a bad checkpoint", Course(committed=(committed(26, lo=26),))),
    ("a bad checkpoint", Course(committed=(Committed(*LOG, 26, ""),))),
    ("open transaction", Course(unended=("one on scores",))),
    ("never drained", Course(complaints=(Complaint("never drained", "committed 20 of 26"),))),
    ("unlawful end", Course(complaints=(Complaint("unlawful end", "exit code 3"),))),
    ("ledger", Course(log=[*INPUTS[:7], *INPUTS[8:]])),
    ("ledger", Course(acknowledged=[*INPUTS[:7], *INPUTS[8:]])),
]


@pytest.mark.parametrize(("kind", "course"), PLANTED)
def test_a_planted_fault_is_reported_as_what_it_is_and_as_nothing_else(kind: str, course: Course) -> None:
    verdict = course.judged()
    assert set(verdict.faults) == {kind}
    assert [witness["kind"] for witness in verdict.witnesses] == [kind]
    assert sum(verdict.zeros.values()) == verdict.faults.total() > 0


def test_an_event_that_the_producer_wrote_twice_is_in_the_log_twice_by_right() -> None:
    first, other = INPUTS[7], INPUTS[8]
    ledger = Ledger()
    ledger.add(first)
    log = {first.place: first, other.place: first._replace(offset=other.offset)}
    verdict = Verdict(None, Counter())
    _hold_log_against_ledger(verdict, ledger, log, {LOG: 0})
    assert (verdict.written_twice, verdict.witnesses) == (1, [])
    log[other.place] = other._replace(timestamp=first.timestamp)  # what else is there is nobody's
    _hold_log_against_ledger(verdict, ledger, log, {LOG: 0})
    assert [(told["kind"], told["place"]) for told in verdict.witnesses] == [("ledger", other.place)]


def test_the_counts_that_must_be_0_have_their_own_names() -> None:
    counted = {kind: {name for name, count in course.judged().zeros.items() if count} for kind, course in PLANTED}
    assert counted.pop("lost") == {"lost"}
    assert counted.pop("doubled") == {"doubled"}
    assert counted.pop("wrong window") == {"wrong_windows"}
    assert counted.pop("out of order") == {"out_of_order"}
    assert counted.pop("offset gone back") == {"other_faults"}
    assert all(names == {"other_faults"} for names in counted.values())


def test_a_witness_names_the_record_and_shows_what_came_out_for_it() -> None:
    twice = [*SCORES, SCORES[3]._replace(offset=99)]
    (witness,) = published(twice).judged().witnesses
    assert witness["place"] == (*LOG, 3)
    assert [out["place"] for out in witness["out"]] == [SCORES[3].place, twice[-1].place]  # type: ignore[attr-defined]


def test_a_checkpoint_needs_no_rows_that_were_deleted() -> None:
    late = Course(committed=(committed(26, lo=25),))
    assert set(late.judged().faults) == {"a bad checkpoint"}
    assert replace(late, deleted={LOG: 25}).judged().faults["a bad checkpoint"] == 0


def test_an_event_of_unknown_end_that_is_gone_from_the_log_was_where_its_answer_says() -> None:
    ledger = Ledger()
    event = LogRecord("events", -1, -1, 5, b"k", b"v")
    ledger.uncertain = {5: event, 6: event._replace(timestamp=6)}

    def answer(offset: int, timestamp: int) -> LogRecord:
        source = {"topic": "events", "partition": 0, "offset": offset}
        return LogRecord("scores", 0, offset, timestamp, b"k", json.dumps({"source": source}).encode())

    def found(*outputs: LogRecord) -> list[LogRecord]:
        return [*_uncertain_and_deleted(ledger, outputs, {("events", 0): 10}).values()]

    assert found(answer(9, 5)) == [event._replace(partition=0, offset=9)]
    assert found(answer(9, 5), answer(8, 5)) == found(answer(9, 5)), "one place each: the other was never written"
    assert found(answer(10, 6)) == [], "the log itself would still have it"
    assert found(answer(9, 7)) == [], "no such event was begun"
    ledger.add(event._replace(partition=0, offset=9))
    assert found(answer(9, 5)) == []


def test_a_transaction_that_nobody_ends_is_found(broker: Broker, tmp_path: Path) -> None:
    topics = Topics(broker.bootstrap)
    job = Job(topics, tmp_path)
    hanging = topics.begin_transaction([LogRecord(job.scores, 0, -1, 5, b"k", b"v")])
    try:
        left = left_by(job, broker.data, patience_s=1.0)
    finally:
        hanging.abort_transaction(10)
        topics.delete_all()
    (unended,) = left.unended
    assert job.scores in unended
    assert "writer-" in unended, "whose it is"
    assert left.outputs == []


def test_whatever_was_committed_is_known_in_its_order(topics: Topics, tmp_path: Path) -> None:
    job, other = Job(topics, tmp_path), Job(topics, tmp_path)
    topic, long = job.inputs[0], "m" * 900
    for group, offset, metadata in [
        *((job.group, 7, "m"), (other.group, 9, "m"), (job.group, 7, "m"), (job.group, 5, long), (job.group, 6, "")),
    ]:
        topics.commit(group, [TopicPartition(topic, 0, offset, metadata=metadata)])
    places = [(7, "m"), (7, "m"), (5, long), (6, "")]
    assert left_by(job, tmp_path).course == [Committed(topic, 0, *place) for place in places]


def test_offsets_of_an_aborted_transaction_were_never_committed(topics: Topics, tmp_path: Path) -> None:
    job = Job(topics, tmp_path)
    with contextlib.closing(Consumer({"bootstrap.servers": topics.bootstrap, "group.id": job.group})) as outsider:
        for offset, end in [(3, "commit_transaction"), (8, "abort_transaction"), (5, "commit_transaction")]:
            producer = topics.begin_transaction([])
            place = TopicPartition(job.inputs[0], 0, offset, metadata="m")
            producer.send_offsets_to_transaction([place], outsider.consumer_group_metadata(), 10)
            getattr(producer, end)(10)
    assert left_by(job, tmp_path).course == [Committed(job.inputs[0], 0, offset, "m") for offset in (3, 5)]
