"""Settings and what the brokers say in, findings out: topics, rights, limits, and where the group stands.

Pure judgment; the facts come from `worker.kafka_survey`.
"""

import difflib
from collections.abc import Iterator

from schemas.settings import Settings
from worker.finding import Finding, advice, counted, problem
from worker.formats import message_max_bytes
from worker.kafka_survey import KafkaFacts, TopicFacts

_TRANSACTION_REMEDIES = {
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": (
        "allow Write (and Describe) on TransactionalId {prefix!r} with a prefixed pattern; an ACL on one literal id"
        " does not cover the id that this check used"
    ),
    "INVALID_TRANSACTION_TIMEOUT": (
        "lower kafka.producer transaction.timeout.ms, or raise the brokers' transaction.max.timeout.ms"
    ),
}


def kafka_findings(settings: Settings, facts: KafkaFacts) -> list[Finding]:
    """What keeps the worker from reading its input, writing its output, or taking its place in the group."""
    return [
        *_missing(settings, facts),
        *_rights(settings, facts),
        *_compaction(settings, facts),
        *_sizes(settings, facts),
        *_partition_counts(settings, facts),
        *_transactions(settings, facts),
        *_gaps(settings, facts),
    ]


def _missing(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    kafka = settings.kafka
    inputs = [facts.topics[topic].partitions for topic in kafka.input_topics if topic in facts.topics]
    wanted = [
        *(("kafka.input_topics", topic) for topic in kafka.input_topics),
        ("kafka.output_topic", kafka.output_topic),
        ("kafka.dead_letter_topic", kafka.dead_letter_topic),
    ]
    for setting, topic in wanted:
        if topic not in facts.topics:
            near = difflib.get_close_matches(topic, facts.topics, n=1)
            otherwise = f"did you mean {near[0]!r}? Else" if near else ""
            create = f"create it with {counted(max(inputs), 'partition')}" if inputs else "create it"
            yield problem(
                "topics",
                f"{setting}: there is no topic {topic!r}, or no right to see it",
                f"{otherwise} {create}".strip(),
            )


def _rights(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    kafka = settings.kafka
    needed = dict.fromkeys(kafka.input_topics, "READ") | dict.fromkeys(
        [kafka.output_topic, kafka.dead_letter_topic], "WRITE"
    )
    for topic, operation in needed.items():
        operations = facts.topics[topic].operations if topic in facts.topics else None
        if operations is not None and operation not in operations:
            yield problem("rights", f"no right to {operation.lower()} topic {topic!r}", f"allow {operation} on it")
    group = facts.group
    if group.refusal is not None:
        yield problem("rights", f"group {kafka.group_id!r} cannot be seen: {group.refusal}", "allow READ on the group")
    elif group.operations is not None and "READ" not in group.operations:
        yield problem("rights", f"no right to join group {kafka.group_id!r}", "allow READ on the group")


def _compaction(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    for topic in settings.kafka.input_topics:
        if "compact" in _config(facts, topic, "cleanup.policy", ""):
            yield problem(
                "topics",
                f"input topic {topic!r} is compacted: rows that windows are made of vanish from it",
                "set cleanup.policy=delete, or read a copy of the topic",
            )
    if "compact" in _config(facts, settings.kafka.output_topic, "cleanup.policy", ""):
        yield advice(
            "topics",
            f"output topic {settings.kafka.output_topic!r} is compacted: only an entity's last score stays",
            "set cleanup.policy=delete, unless that is what you want",
        )


def _sizes(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    needed = message_max_bytes(settings)
    for topic in (settings.kafka.output_topic, settings.kafka.dead_letter_topic):
        limit = int(_config(facts, topic, "max.message.bytes", str(needed)))
        if limit < needed:
            yield problem(
                "topics",
                f"topic {topic!r} takes messages of {limit:,} bytes, a record may need {needed:,}",
                f"set its max.message.bytes to {needed}, or lower events.max_bytes",
            )


def _partition_counts(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    output = facts.topics.get(settings.kafka.output_topic)
    for topic in settings.kafka.input_topics:
        given = facts.topics.get(topic)
        if given is not None and output is not None and given.partitions != output.partitions:
            yield advice(
                "topics",
                f"{topic!r} has {counted(given.partitions, 'partition')} and output topic {output.name!r} has"
                f" {output.partitions}:"
                " scores go where their keys hash to, not to their events' partitions",
                f"create {output.name!r} with {counted(given.partitions, 'partition')} for the same order in both",
            )


def _transactions(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    refusal = facts.transaction_refusal
    if refusal is None:
        return
    prefix = settings.kafka.transactional_id or settings.kafka.group_id
    remedy = _TRANSACTION_REMEDIES.get(refusal, "see the brokers' log, or set delivery: at-least-once")
    yield problem("rights", f"no transaction can be started: {refusal}", remedy.format(prefix=prefix))


def _gaps(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    for log in facts.logs:
        committed = facts.group.committed.get(log.partition)
        if committed is None or committed >= log.start:
            continue
        count = log.start - committed
        gone = (
            f"{counted(count, 'record')} of {log.partition.topic}-{log.partition.partition}"
            f" {'was' if count == 1 else 'were'} deleted unread"
        )
        if settings.on_gap == "fail":
            yield problem("group", f"{gone}: the worker will refuse to start", "accept the loss with on_gap: continue")
        else:
            yield advice("group", gone, "raise the topic's retention above the worker's longest outage")


def _config(facts: KafkaFacts, topic: str, name: str, default: str) -> str:
    seen: TopicFacts | None = facts.topics.get(topic)
    return default if seen is None or seen.config is None else seen.config.get(name, default)
