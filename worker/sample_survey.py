"""A sample of live records and a model in, what the model makes of them out: in numbers, without a judgment.

The sample goes through the worker's own decoder, windows and detector. It knows no Kafka.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.manifest import QUANTILE_LEVELS, Manifest
from schemas.settings import Settings
from worker.batch import Bool, Events, Float32, Int64, Records, Scores, TopicPartition, Windows
from worker.decoder import JsonDecoder
from worker.detector import Detector
from worker.event_format import EventFormat, spelled
from worker.formats import event_format, window_format
from worker.windows import WindowStore

_FIELDS_OF = 200  # records whose fields are listed, to name the nearest where a feature is missing
_DEEPEST = 4
_LOW, _MIDDLE, _HIGH = (QUANTILE_LEVELS.index(level) for level in (0.001, 0.5, 0.999))


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """One feature in the sample, and beside it in the training data."""

    name: str
    path: str
    missing: float
    """Share of the events, refused ones included, that are objects at all."""
    median: float | None
    training_median: float | None
    outside: float | None
    """Share of values outside the training data's 0.1 % and 99.9 % quantiles; 0.002 by itself. None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFacts:
    """One partition in the sample."""

    partition: TopicPartition
    events: int
    entities: int
    """At least so many in the partition: those seen, and an estimate of those not seen."""
    per_day: float | None
    """Events; None where the sample's times do not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFacts:
    """The sample in numbers."""

    records: int
    valid: int
    skipped: int
    refused: Mapping[str, int]
    refusals: Mapping[str, str]
    """Reason -> the first sentence."""
    fields: Sequence[str]
    features: Sequence[FeatureFacts]
    partitions: Sequence[PartitionFacts]
    entities: int
    name_bytes: float
    in_several: Sequence[tuple[str, Sequence[TopicPartition]]]
    """Entities with records in several partitions of one topic."""
    strangers: Mapping[str, int]
    """Events of each entity that the model was not trained on; none where it knows no entity by name."""
    scored: int
    """Windows of at least `min_length` rows."""
    above: int
    """Of these, how many scored above the threshold."""
    refill_s_per_record: float

    @property
    def per_day(self) -> float | None:
        """Events a day, all partitions together."""
        rates = [one.per_day for one in self.partitions]
        known = [rate for rate in rates if rate is not None]
        return sum(known) if known else None


def survey_sample(
    batches: Sequence[Records], settings: Settings, manifest: Manifest, detector: Detector
) -> SampleFacts:
    """Put the sample through decoder, windows and detector."""
    form = event_format(settings.events, manifest.feature_names)
    started_s = time.perf_counter()
    decoded = [JsonDecoder(form).decode(batch) for batch in batches]
    windows = _windows(batches, decoded, settings, manifest, with_elapsed=detector.needs_elapsed)
    spent_s = time.perf_counter() - started_s
    records = sum(map(len, batches))
    above, scored = _alarms(decoded, windows, detector, manifest.min_length, settings.alert.threshold)
    refused = [refused for events in decoded for refused in events.refused]
    entities = {entity for events in decoded for entity in events.entity}
    return SampleFacts(
        records=records,
        valid=sum(map(len, decoded)),
        skipped=sum(len(events.skipped) for events in decoded),
        refused=dict(Counter(one.reason for one in refused)),
        refusals={one.reason: one.message.rstrip(".") for one in reversed(refused)},
        fields=fields_of(value for batch in batches for value in batch.value[:_FIELDS_OF]),
        features=_features(batches, form, manifest),
        partitions=_partitions(batches, decoded),
        entities=estimated_kinds(Counter(entity for events in decoded for entity in events.entity)),
        name_bytes=float(np.mean([len(name.encode()) for name in entities])) if entities else 0.0,
        in_several=_in_several(batches, decoded),
        strangers=_strangers(decoded, manifest),
        scored=scored,
        above=above,
        refill_s_per_record=spent_s / max(1, records),
    )


def _strangers(decoded: Sequence[Events], manifest: Manifest) -> Mapping[str, int]:
    if not manifest.entities:
        return {}
    known = set(manifest.entities)
    return Counter(entity for events in decoded for entity in events.entity if entity not in known)


def estimated_kinds(counts: Mapping[str, int]) -> int:
    """How many kinds there are at least, from a sample's counts: the bias-corrected estimator of Chao (1984)."""
    once = sum(count == 1 for count in counts.values())
    twice = sum(count == 2 for count in counts.values())
    return len(counts) + round(once * (once - 1) / (2 * (twice + 1)))


def fields_of(values: Iterable[bytes | None]) -> tuple[str, ...]:
    """The fields of the objects, as paths, in the order of first sight."""
    found: dict[str, None] = {}
    for value in values:
        try:
            event = msgspec.json.decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        found.update(dict.fromkeys(_paths(event, (), _DEEPEST)))
    return tuple(found)


def _paths(value: object, above: tuple[str, ...], depth: int) -> Iterable[str]:
    if not isinstance(value, dict) or not depth:
        return [".".join(above)] if above else []
    return [path for name, below in value.items() for path in _paths(below, (*above, str(name)), depth - 1)]


def _windows(
    batches: Sequence[Records], decoded: Sequence[Events], settings: Settings, manifest: Manifest, *, with_elapsed: bool
) -> list[Windows]:
    form = window_format(settings, manifest)
    store = WindowStore(
        window=form.window,
        features=form.features,
        lookback_offsets=form.lookback_offsets,
        max_gap_ms=form.max_gap_ms,
        with_elapsed=with_elapsed,
    )
    made = []
    for place, (batch, events) in enumerate(zip(batches, decoded, strict=True)):
        partition = np.full(len(events), place, np.int64)  # a batch of the sample is one partition's
        made.append(store.extend(events, partition=partition, offset=batch.offset[events.row]))
        store.keep()
    return made


def _alarms(
    decoded: Sequence[Events], windows: Sequence[Windows], detector: Detector, min_length: int, threshold: float
) -> tuple[int, int]:
    """Windows above the threshold, and all that are long enough to be judged."""
    above, judged = 0, 0
    for events, made in zip(decoded, windows, strict=True):
        if not len(events):
            continue
        scores: Scores = detector.score(made, events.entity)
        ready: Bool = made.length >= min_length
        judged += int(np.count_nonzero(ready))
        above += int(np.count_nonzero(ready & (scores.score > threshold)))
    return above, judged


def _features(batches: Sequence[Records], form: EventFormat, manifest: Manifest) -> list[FeatureFacts]:
    """With every limit on missing values lifted, so that refused events tell what they lack."""
    lenient = JsonDecoder(replace(form, max_missing=1.0, required=frozenset()))
    columns = [lenient.decode(batch).features for batch in batches]
    values = np.concatenate(columns) if columns else np.empty((0, len(form.features)), np.float32)
    return [
        _feature(name, spelled(path), values[:, place], manifest.features[place].quantiles)
        for place, (name, path) in enumerate(form.features)
    ]


def _feature(name: str, path: str, values: Float32, quantiles: Sequence[float] | None) -> FeatureFacts:
    present = values[~np.isnan(values)]
    outside = None
    if quantiles is not None and len(present):
        low, high = np.float32(quantiles[_LOW]), np.float32(quantiles[_HIGH])
        outside = float(np.mean((present < low) | (present > high)))
    return FeatureFacts(
        name=name,
        path=path,
        missing=1.0 - len(present) / len(values) if len(values) else 0.0,
        median=float(np.median(present)) if len(present) else None,
        training_median=None if quantiles is None else quantiles[_MIDDLE],
        outside=outside,
    )


def _partitions(batches: Sequence[Records], decoded: Sequence[Events]) -> list[PartitionFacts]:
    return [
        PartitionFacts(
            partition=batch.partitions[int(batch.partition[0])],
            events=len(events),
            entities=estimated_kinds(Counter(events.entity)),
            per_day=_per_day(events.event_time),
        )
        for batch, events in zip(batches, decoded, strict=True)
        if len(batch)
    ]


def _per_day(event_time: Int64 | NDArray[np.int64]) -> float | None:
    if len(event_time) < 2:
        return None
    span_ms = int(event_time.max() - event_time.min())
    return (len(event_time) - 1) * 86_400_000 / span_ms if span_ms else None


def _in_several(batches: Sequence[Records], decoded: Sequence[Events]) -> list[tuple[str, Sequence[TopicPartition]]]:
    places: defaultdict[tuple[str, str], set[TopicPartition]] = defaultdict(set)
    for batch, events in zip(batches, decoded, strict=True):
        if len(batch):
            partition = batch.partitions[int(batch.partition[0])]
            for entity in set(events.entity):
                places[partition.topic, entity].add(partition)
    return [(entity, sorted(found)) for (_, entity), found in places.items() if len(found) > 1]
