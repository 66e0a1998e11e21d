"""What is said of brokers, topics and rights, from facts made up here."""

from dataclasses import replace

import pytest

from tests.least_settings import least_settings
from worker.batch import TopicPartition
from worker.finding import Finding
from worker.kafka_findings import kafka_findings
from worker.kafka_survey import GroupFacts, KafkaFacts, TopicFacts
from worker.log_slice import Slice

SETTINGS = least_settings()
ALL = frozenset({"READ", "WRITE", "DESCRIBE"})


def topic(name: str, **about: object) -> TopicFacts:
    usual = {"cleanup.policy": "delete", "max.message.bytes": "1048588"}
    facts = TopicFacts(name=name, partitions=4, operations=ALL, config=usual)
    return replace(facts, **about)


def facts(*topics: TopicFacts, **about: object) -> KafkaFacts:
    given = {one.name: one for one in topics}
    usual = {name: given.get(name, topic(name)) for name in ("events", "scores", "dead-letters")}
    group = GroupFacts(operations=ALL, refusal=None, committed={})
    logs = [Slice(TopicPartition("events", 0), 0, 1000)]
    return replace(KafkaFacts(topics=usual, group=group, logs=logs, transaction_refusal=None), **about)


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def test_the_usual_cluster_needs_no_change() -> None:
    assert kafka_findings(SETTINGS, facts()) == []


def test_a_missing_topic_is_named_with_its_setting_and_what_to_create() -> None:
    seen = facts()
    without = replace(seen, topics={name: one for name, one in seen.topics.items() if name != "scores"})
    found = only(kafka_findings(SETTINGS, without))
    assert found.level == "problem"
    assert "kafka.output_topic: there is no topic 'scores'" in found.sentence
    assert "create it with 4 partitions" in found.remedy


@pytest.mark.parametrize(("name", "right"), [("events", "READ"), ("scores", "WRITE"), ("dead-letters", "WRITE")])
def test_a_missing_right_is_named(name: str, right: str) -> None:
    found = only(kafka_findings(SETTINGS, facts(topic(name, operations=ALL - {right}))))
    assert (found.level, found.remedy) == ("problem", f"allow {right} on it")
    assert name in found.sentence


def test_rights_that_the_brokers_do_not_tell_are_not_complained_of() -> None:
    assert kafka_findings(SETTINGS, facts(topic("events", operations=None, config=None))) == []


def test_a_group_that_may_not_be_joined_is_a_problem() -> None:
    for group in (
        GroupFacts(operations=frozenset({"DESCRIBE"}), refusal=None, committed={}),
        GroupFacts(operations=None, refusal="Group authorization failed", committed={}),
    ):
        assert only(kafka_findings(SETTINGS, facts(group=group))).remedy == "allow READ on the group"


def test_compaction_is_refused_for_input_and_questioned_for_output() -> None:
    compacted = {"cleanup.policy": "compact,delete"}
    assert only(kafka_findings(SETTINGS, facts(topic("events", config=compacted)))).level == "problem"
    assert only(kafka_findings(SETTINGS, facts(topic("scores", config=compacted)))).level == "advice"


def test_a_topic_that_takes_smaller_records_than_may_be_refused_is_a_problem() -> None:
    found = only(kafka_findings(SETTINGS, facts(topic("dead-letters", config={"max.message.bytes": "500000"}))))
    assert "500,000" in found.sentence
    assert "max.message.bytes to 1048000" in found.remedy


def test_other_partition_counts_are_advised_against() -> None:
    found = only(kafka_findings(SETTINGS, facts(topic("scores", partitions=3))))
    assert found.level == "advice"
    assert "with 4 partitions" in found.remedy


def test_one_of_a_kind_is_told_as_one() -> None:
    found = only(kafka_findings(SETTINGS, facts(topic("events", partitions=1))))
    assert "'events' has 1 partition and output topic 'scores' has 4:" in found.sentence
    assert "with 1 partition for" in found.remedy
    group = GroupFacts(operations=ALL, refusal=None, committed={TopicPartition("events", 0): 99})
    gap = facts(group=group, logs=[Slice(TopicPartition("events", 0), 100, 1000)])
    assert "1 record of events-0 was deleted unread" in only(kafka_findings(SETTINGS, gap)).sentence


def test_a_refused_transaction_tells_which_right_is_missing() -> None:
    found = only(kafka_findings(SETTINGS, facts(transaction_refusal="TRANSACTIONAL_ID_AUTHORIZATION_FAILED")))
    assert "TransactionalId 'machines' with a prefixed pattern" in found.remedy


@pytest.mark.parametrize(("on_gap", "level"), [("fail", "problem"), ("continue", "advice")])
def test_records_that_were_deleted_unread_are_counted(on_gap: str, level: str) -> None:
    group = GroupFacts(operations=ALL, refusal=None, committed={TopicPartition("events", 0): 70})
    logs = [Slice(TopicPartition("events", 0), 100, 1000)]
    settings = SETTINGS.model_copy(update={"on_gap": on_gap})
    found = only(kafka_findings(settings, facts(group=group, logs=logs)))
    assert found.level == level
    assert "30 records of events-0 were deleted unread" in found.sentence
