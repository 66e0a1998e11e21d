"""Settings, the model's manifest and a sample in numbers in, findings out: does this model fit these events?

Pure judgment; the numbers come from `worker.sample_survey`, and those of the log from the brokers.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.manifest import Manifest
from schemas.settings import Settings
from worker.finding import Finding, advice, counted, problem
from worker.log_slice import Slice
from worker.sample_survey import FeatureFacts, PartitionFacts, SampleFacts

REFUSED_SHARE = 0.01
"""More refused events than this are no single bad events."""
FEWEST_REFUSED = 5
"""Nor are so few, however small the sample, unless they are most of it."""
MOST = 0.5
"""Where more events than this are refused, it is the settings that are wrong rather than the events."""
MISSING_SHARE = 0.5
OTHER_DATA_SHARE = 0.2
"""So many values beyond all but 0.2 % of the training data are another unit or another machine."""
DRIFT_SHARE = 0.02
ALARM_FACTOR = 10
"""So many times more alarms than the model promises are no chance."""
STRANGERS_SHARE = 0.1
"""So many events of entities that the model was not trained on are worth another training."""
FEWEST_ALARMS = 5
FEWEST_WINDOWS = 200
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What running this model on these topics will take."""

    alarms_a_day: float | None
    """As the sample says; None where it does not tell."""
    promised_alarms_a_day: float | None
    """As the model's alarm rate says."""
    rows_an_entity: float | None
    """Within the lookback and what the log still holds, in the partition with the fewest."""
    memory_bytes: int
    refill_s: float


def estimate(settings: Settings, manifest: Manifest, sample: SampleFacts, logs: Sequence[Slice]) -> Estimate:
    """From the sample to the whole."""
    per_day = sample.per_day
    rows = [_rows_an_entity(settings, log, one) for log, one in _matched(logs, sample)]
    row_bytes = 4 * len(manifest.features) + 8
    held_rows = min(sample.entities * manifest.window, 2 * settings.lookback_offsets * max(1, len(logs)))
    return Estimate(
        alarms_a_day=per_day * sample.above / sample.scored if per_day and sample.scored else None,
        promised_alarms_a_day=per_day * manifest.alarm_rate if per_day else None,
        rows_an_entity=min(rows) if rows else None,
        memory_bytes=round(held_rows * row_bytes * 1.1 + sample.entities * (200 + sample.name_bytes)),
        refill_s=sample.refill_s_per_record
        * sum(_refill_offsets(settings, manifest, *one) for one in _matched(logs, sample)),
    )


def sample_findings(
    settings: Settings, manifest: Manifest, sample: SampleFacts, logs: Sequence[Slice]
) -> list[Finding]:
    """What to change before this model scores these events."""
    if not sample.records:
        return [
            advice("events", "the input topics are empty: nothing could be tried", "run check again with events there")
        ]
    return [
        *_refusals(sample),
        *_missing(sample),
        *_drift(sample),
        *_strangers(manifest, sample),
        *_spread(settings, sample),
        *_rows(settings, manifest, sample, logs),
        *_alarms(manifest, sample),
        *_short_sample(manifest, sample, logs),
    ]


def _refusals(sample: SampleFacts) -> Iterator[Finding]:
    judged = sample.records - sample.skipped
    if not judged:
        yield problem("events", "events.where skips every event of the sample", "compare it with the events")
    for reason, count in sorted(sample.refused.items(), key=lambda one: -one[1]):
        most = count > MOST * judged
        many = count > REFUSED_SHARE * judged and count >= FEWEST_REFUSED
        level = problem if most or many else advice
        yield level(
            "events",
            f"{count:,} of {counted(judged, 'event')} would be refused as {reason}, for instance:"
            f" {sample.refusals[reason]}",
            _remedy(reason, most=most),
        )


def _remedy(reason: str, *, most: bool) -> str:
    """Settings that suit most of the events are not to be changed for a few."""
    if most:
        return _REMEDIES.get(reason, "correct the events, or accept them as dead letters")
    return f"correct what writes these events, or accept them as dead letters{_REMEDIES_OF_FEW.get(reason, '')}"


_REMEDIES = {
    "no_entity": "set events.entity to the path of the entity's name, or give records a key",
    "bad_timestamp": "set events.timestamp and events.timestamp_unit to what the events hold",
    "missing_features": "set events.features to where the values are, or raise events.max_missing",
    "wrong_type": "set events.features to numeric fields",
    "too_large": "raise events.max_bytes",
    "undecodable": "events must be JSON objects; Avro and Protobuf are not built yet",
    "empty": "if null values mean deletions here, set events.tombstone: skip",
}
_REMEDIES_OF_FEW = {
    "missing_features": "; a higher events.max_missing would score them with the gaps",
    "too_large": "; a higher events.max_bytes would let them in",
    "empty": "; if null values mean deletions here, set events.tombstone: skip",
}


def _missing(sample: SampleFacts) -> Iterator[Finding]:
    for feature in sample.features:
        if feature.missing > MISSING_SHARE:
            near = _nearest(feature, sample.fields)
            yield problem(
                "events",
                f"feature {feature.name!r} is missing in {feature.missing:.0%} of the events",
                f"set events.features: {{{feature.name}: {near or 'PATH'}}}",
            )


def _nearest(feature: FeatureFacts, fields: Sequence[str]) -> str | None:
    """The field that is spelled most alike, by its whole path or its last step."""
    spellings = {}
    for field in fields:
        if field != feature.path:
            spellings[_letters(field.rsplit(".", 1)[-1])] = field
            spellings[_letters(field)] = field
    near = difflib.get_close_matches(_letters(feature.path), spellings, n=1)
    return spellings[near[0]] if near else None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _drift(sample: SampleFacts) -> Iterator[Finding]:
    for feature in sample.features:
        if feature.outside is None or feature.outside <= DRIFT_SHARE:
            continue
        sentence = (
            f"feature {feature.name!r}: {feature.outside:.0%} of the values lie outside what the model was trained on"
            f" (median {feature.median:.4g}, in training {feature.training_median:.4g})"
        )
        if feature.outside > OTHER_DATA_SHARE:
            yield problem("drift", sentence, "check its unit and its path; if the events are right, train anew")
        else:
            yield advice("drift", sentence, "train anew on recent events (anomaly-worker capture) if it stays so")


def _strangers(manifest: Manifest, sample: SampleFacts) -> Iterator[Finding]:
    strange = sum(sample.strangers.values())
    if strange <= STRANGERS_SHARE * sample.valid:
        return
    named = ", ".join(map(repr, list(sample.strangers)[:_NAMED]))
    if strange == sample.valid:
        yield problem(
            "entities",
            f"the model knows none of the events' entities, for instance {named}; it knows"
            f" {', '.join(map(repr, manifest.entities[:_NAMED]))}",
            "set events.entity to the path of the names that it was trained on, or train anew on these entities",
        )
    else:
        yield advice(
            "entities",
            f"{strange:,} of {counted(sample.valid, 'event')} are of entities that the model was not trained on, for"
            f" instance {named}: it judges them by the level of all",
            "train anew once they have a past",
        )


def _spread(settings: Settings, sample: SampleFacts) -> Iterator[Finding]:
    if sample.in_several:
        named = ", ".join(repr(entity) for entity, _ in sample.in_several[:_NAMED])
        key = settings.events.entity or "the entity"
        yield problem(
            "partitions",
            f"{counted(len(sample.in_several), 'entity has', 'entities have')} events in several partitions, for"
            f" instance {named}: each partition has a window of its own for them",
            f"write events with {key} as the record key, or copy the topic through a repartition by it (with Kafka"
            " Streams: selectKey and repartition) and read the copy",
        )


def _rows(settings: Settings, manifest: Manifest, sample: SampleFacts, logs: Sequence[Slice]) -> Iterator[Finding]:
    for log, one in _matched(logs, sample):
        rows = _rows_an_entity(settings, log, one)
        if rows >= manifest.window or not (log.start or len(log) > settings.lookback_offsets):
            continue  # a young topic simply has not seen more yet
        wanted = one.entities * manifest.window
        remedy = (
            f"raise lookback_offsets to {2 * wanted:,}"
            if settings.lookback_offsets < wanted
            else f"raise the topic's retention until it holds {2 * wanted:,} records a partition"
        )
        yield problem(
            "windows",
            f"{one.partition.topic}-{one.partition.partition} holds about {rows:.0f} rows an entity within the"
            f" lookback, a window needs {manifest.window}: after a restart windows would be shorter than before",
            remedy,
        )


def _alarms(manifest: Manifest, sample: SampleFacts) -> Iterator[Finding]:
    promised = manifest.alarm_rate * sample.scored
    if sample.above >= max(FEWEST_ALARMS, ALARM_FACTOR * promised):
        yield problem(
            "alarms",
            f"{sample.above:,} of {counted(sample.scored, 'window')} are above the threshold, where the model promises"
            f" {promised:.1f}",
            "check that features mean what they meant in training; then train anew, or raise alert.threshold",
        )


def _short_sample(manifest: Manifest, sample: SampleFacts, logs: Sequence[Slice]) -> Iterator[Finding]:
    if sample.valid and sample.scored < min(FEWEST_WINDOWS, sample.valid):
        wanted = max(sample.entities * (manifest.min_length + 2), 2 * sample.records)
        there_is_more = sum(map(len, logs)) > sample.records
        yield advice(
            "sample",
            f"{_few(sample.scored)} long enough ({counted(manifest.min_length, 'row')}) to be judged",
            f"use --sample {wanted}" if there_is_more else "run check again when the topics hold more events",
        )


def _few(windows: int) -> str:
    if not windows:
        return "no window of the sample was"
    return f"only {counted(windows, 'window')} of the sample {'was' if windows == 1 else 'were'}"


def _matched(logs: Sequence[Slice], sample: SampleFacts) -> list[tuple[Slice, PartitionFacts]]:
    by_partition = {one.partition: one for one in sample.partitions}
    return [(log, by_partition[log.partition]) for log in logs if log.partition in by_partition]


def _rows_an_entity(settings: Settings, log: Slice, one: PartitionFacts) -> float:
    return min(settings.lookback_offsets, len(log)) / max(1, one.entities)


def _refill_offsets(settings: Settings, manifest: Manifest, log: Slice, one: PartitionFacts) -> int:
    """How far the windows of a partition reach back, if its entities are about equally frequent."""
    return min(settings.lookback_offsets, len(log), manifest.window * max(1, one.entities))
