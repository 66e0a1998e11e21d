"""The lines of `check`'s report as people read them, also where little is known."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from worker.batch import TopicPartition
from worker.check_report import Report, print_report
from worker.kafka_survey import GroupFacts, KafkaFacts, TopicFacts
from worker.log_slice import Slice
from worker.sample_findings import Estimate
from worker.sample_survey import PartitionFacts, SampleFacts

PLACE = TopicPartition("events", 0)
SAMPLE = SampleFacts(
    records=2000,
    valid=2000,
    skipped=0,
    refused={},
    refusals={},
    fields=(),
    features=[],
    partitions=[PartitionFacts(partition=PLACE, events=2000, entities=10, per_day=86_400.0)],
    entities=10,
    name_bytes=8.0,
    in_several=[],
    strangers={},
    scored=1900,
    above=2,
    refill_s_per_record=1e-5,
)
ESTIMATE = Estimate(
    alarms_a_day=90.9, promised_alarms_a_day=86.4, rows_an_entity=10_000, memory_bytes=5_000_000, refill_s=0.01
)


def lines(sample: SampleFacts = SAMPLE, estimate: Estimate = ESTIMATE, *, committed: int = 0) -> dict[str, str]:
    """What is printed, by the word in front."""
    events = TopicFacts(name="events", partitions=1, operations=None, config={"retention.ms": "86400000"})
    group = GroupFacts(
        operations=None, refusal=None, committed={TopicPartition("events", place): 0 for place in range(committed)}
    )
    kafka = KafkaFacts(topics={"events": events}, group=group, logs=[Slice(PLACE, 0, 1)], transaction_refusal=None)
    report = Report(model="m 1", provider="cpu", kafka=kafka, sample=sample, estimate=estimate, findings=[])
    text = StringIO()
    print_report(report, Console(file=text, highlight=False, soft_wrap=True))
    return {line[:13].strip(): line[14:] for line in text.getvalue().splitlines()}


def test_the_usual_report_is_made_of_numbers() -> None:
    said = lines()
    assert said["sample"] == "2,000 records: 2,000 valid, 0 refused, 0 skipped"
    assert said["entities"] == "about 10, 10,000 rows each within the lookback"
    assert said["rate"] == "86,400 events a day"
    assert said["alarms a day"] == "91 as the sample scores (2 of 1,900 windows), 86 as the model promises"


@pytest.mark.parametrize(("committed", "said"), [(0, "has not started yet"), (1, "has committed 1 partition")])
def test_one_of_a_kind_is_told_as_one(committed: int, said: str) -> None:
    told = lines(replace(SAMPLE, records=1), committed=committed)
    assert told["topic"] == "events: 1 partition, 1 offset, retention 1 day"
    assert told["sample"].startswith("1 record: ")
    assert told["group"] == said


def test_without_a_rate_the_alarms_seen_are_still_told() -> None:
    unknown = replace(ESTIMATE, alarms_a_day=None, promised_alarms_a_day=None)
    partitions = [replace(SAMPLE.partitions[0], per_day=None)]
    said = lines(replace(SAMPLE, partitions=partitions, scored=1, above=0), unknown)
    assert said["rate"] == "unknown: the sample's times do not tell"
    assert said["alarms a day"] == "unknown without a rate; above the threshold: 0 of 1 window"
    said = lines(replace(SAMPLE, partitions=partitions, scored=0, above=0), unknown)
    assert said["alarms a day"] == "unknown: no window was long enough to be judged"


def test_without_long_windows_the_models_promise_is_still_told() -> None:
    said = lines(replace(SAMPLE, scored=0, above=0), replace(ESTIMATE, alarms_a_day=None))
    assert said["alarms a day"] == "86 as the model promises; no window was long enough to be judged"


def test_an_empty_topic_has_no_entities() -> None:
    empty = replace(SAMPLE, records=0, valid=0, entities=0, partitions=[], scored=0, above=0)
    assert lines(empty, replace(ESTIMATE, rows_an_entity=None))["entities"] == "none was seen"
