"""What is said of a model and a sample of events, from numbers made up here."""

from dataclasses import replace

import pytest

from schemas.manifest import Manifest
from tests.artifacts import artifact_model, manifest_of
from tests.least_settings import least_settings
from worker.batch import TopicPartition
from worker.finding import Finding
from worker.log_slice import Slice
from worker.sample_findings import estimate, sample_findings
from worker.sample_survey import FeatureFacts, PartitionFacts, SampleFacts, estimated_kinds, fields_of

SETTINGS = least_settings()
PLACE = TopicPartition("events", 0)
LOGS = [Slice(PLACE, 0, 100_000)]
FEATURE = FeatureFacts("x", "x", missing=0.0, median=1.0, training_median=1.0, outside=0.002)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return manifest_of(artifact_model(features=("x", "y"), window=32, alarm_rate=0.001))


def sample(**about: object) -> SampleFacts:
    facts = SampleFacts(
        records=2000,
        valid=2000,
        skipped=0,
        refused={},
        refusals={},
        fields=("x", "y"),
        features=[FEATURE, replace(FEATURE, name="y", path="y")],
        partitions=[PartitionFacts(partition=PLACE, events=2000, entities=10, per_day=86_400.0)],
        entities=10,
        name_bytes=8.0,
        in_several=[],
        strangers={},
        scored=1900,
        above=2,
        refill_s_per_record=1e-5,
    )
    return replace(facts, **about)


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def test_a_sample_like_the_training_data_needs_no_change(manifest: Manifest) -> None:
    assert sample_findings(SETTINGS, manifest, sample(), LOGS) == []


def test_an_empty_topic_is_told(manifest: Manifest) -> None:
    assert "are empty" in only(sample_findings(SETTINGS, manifest, sample(records=0), LOGS)).sentence


def test_entities_that_the_model_does_not_know_are_told(manifest: Manifest) -> None:
    knowing = manifest.model_copy(update={"entities": ["press-1", "press-2"]})
    none = only(sample_findings(SETTINGS, knowing, sample(strangers={"PRESS-1": 1500, "PRESS-2": 500}), LOGS))
    assert none.level == "problem"
    assert "knows none of the events' entities, for instance 'PRESS-1', 'PRESS-2'; it knows 'press-1'" in none.sentence
    some = only(sample_findings(SETTINGS, knowing, sample(strangers={"press-3": 201}), LOGS))
    assert some.level == "advice"
    assert "201 of 2,000 events are of entities that the model was not trained on" in some.sentence
    assert sample_findings(SETTINGS, knowing, sample(strangers={"press-3": 200}), LOGS) == []


def refused(manifest: Manifest, reason: str, count: int, *, of: int = 2000) -> Finding:
    about = {"records": of, "valid": of - count, "scored": of - count, "above": 0}
    refusal = {"refused": {reason: count}, "refusals": {reason: "key is null"}}
    return only(sample_findings(SETTINGS, manifest, sample(**about, **refusal), LOGS))


@pytest.mark.parametrize(("count", "level"), [(2, "advice"), (500, "problem"), (1500, "problem")])
def test_refused_events_are_told_with_how_many_of_how_many_and_why(manifest: Manifest, count: int, level: str) -> None:
    found = refused(manifest, "no_entity", count)
    assert found.level == level
    assert f"{count:,} of 2,000 events would be refused as no_entity, for instance: key is null" in found.sentence


@pytest.mark.parametrize(
    ("count", "of", "level"), [(1, 35, "advice"), (4, 35, "advice"), (5, 35, "problem"), (2, 3, "problem")]
)
def test_few_refused_events_of_a_small_sample_are_no_problem_unless_they_are_most(
    manifest: Manifest, count: int, of: int, level: str
) -> None:
    assert refused(manifest, "no_entity", count, of=of).level == level


def test_settings_are_to_be_changed_where_most_events_are_refused(manifest: Manifest) -> None:
    assert "set events.entity to the path" in refused(manifest, "no_entity", 1500).remedy
    assert refused(manifest, "too_large", 1500).remedy == "raise events.max_bytes"


@pytest.mark.parametrize("count", [2, 500])
def test_settings_that_suit_the_other_events_are_not_to_be_changed_for_a_few(manifest: Manifest, count: int) -> None:
    kept = "correct what writes these events, or accept them as dead letters"
    assert refused(manifest, "wrong_type", count).remedy == kept
    assert refused(manifest, "too_large", count).remedy == f"{kept}; a higher events.max_bytes would let them in"


def test_where_that_skips_everything_is_told(manifest: Manifest) -> None:
    found = sample_findings(SETTINGS, manifest, sample(valid=0, skipped=2000, scored=0, above=0), LOGS)
    assert "events.where skips every event" in only(found).sentence


def test_a_missing_feature_is_told_with_the_field_that_is_spelled_alike(manifest: Manifest) -> None:
    missing = replace(FEATURE, name="cpu_load", path="cpu_load", missing=1.0, median=None, outside=None)
    about = {"features": [missing], "fields": ("host", "metrics.cpuLoad", "metrics.mem")}
    found = only(sample_findings(SETTINGS, manifest, sample(**about), LOGS))
    assert found.remedy == "set events.features: {cpu_load: metrics.cpuLoad}"


@pytest.mark.parametrize(("outside", "level"), [(0.05, "advice"), (0.9, "problem")])
def test_values_beyond_the_training_data_are_told(manifest: Manifest, outside: float, level: str) -> None:
    feature = replace(FEATURE, outside=outside, median=100.0)
    found = only(sample_findings(SETTINGS, manifest, sample(features=[feature]), LOGS))
    assert found.level == level
    assert "median 100, in training 1" in found.sentence


def test_entities_in_several_partitions_are_told_with_how_to_repartition(manifest: Manifest) -> None:
    about = {"in_several": [("omi-1", [PLACE, TopicPartition("events", 1)])]}
    found = only(sample_findings(SETTINGS, manifest, sample(**about), LOGS))
    assert "'omi-1'" in found.sentence
    assert "record key" in found.remedy


def test_a_lookback_too_short_for_a_window_is_told_with_one_that_is_not(manifest: Manifest) -> None:
    many = PartitionFacts(partition=PLACE, events=2000, entities=1000, per_day=86_400.0)
    settings = SETTINGS.model_copy(update={"lookback_offsets": 10_000})
    found = only(sample_findings(settings, manifest, sample(partitions=[many]), LOGS))
    assert "about 10 rows an entity" in found.sentence
    assert found.remedy == "raise lookback_offsets to 64,000"


def test_a_retention_too_short_for_a_window_is_told(manifest: Manifest) -> None:
    many = PartitionFacts(partition=PLACE, events=2000, entities=1000, per_day=86_400.0)
    old, young = [Slice(PLACE, 90_000, 100_000)], [Slice(PLACE, 0, 10_000)]
    assert "retention" in only(sample_findings(SETTINGS, manifest, sample(partitions=[many]), old)).remedy
    assert sample_findings(SETTINGS, manifest, sample(partitions=[many]), young) == []


def test_ten_times_the_promised_alarms_are_told(manifest: Manifest) -> None:
    found = only(sample_findings(SETTINGS, manifest, sample(above=100), LOGS))
    assert "100 of 1,900 windows" in found.sentence
    assert sample_findings(SETTINGS, manifest, sample(above=4), LOGS) == []


def test_too_few_long_windows_ask_for_a_larger_sample(manifest: Manifest) -> None:
    found = only(sample_findings(SETTINGS, manifest, sample(scored=3, above=0), LOGS))
    assert (found.level, found.remedy) == ("advice", "use --sample 4000")
    assert found.sentence == "only 3 windows of the sample were long enough (1 row) to be judged"


def test_a_larger_sample_is_not_asked_for_where_there_is_no_more(manifest: Manifest) -> None:
    short = sample(records=35, valid=35, scored=0, above=0)
    found = only(sample_findings(SETTINGS, manifest, short, [Slice(PLACE, 0, 35)]))
    assert found.sentence == "no window of the sample was long enough (1 row) to be judged"
    assert found.remedy == "run check again when the topics hold more events"
    assert (
        "only 1 window of the sample was"
        in only(sample_findings(SETTINGS, manifest, replace(short, scored=1), [Slice(PLACE, 0, 35)])).sentence
    )


def test_estimates_follow_from_the_sample(manifest: Manifest) -> None:
    seen = estimate(SETTINGS, manifest, sample(scored=2000, above=4), LOGS)
    assert seen.alarms_a_day == pytest.approx(172.8)
    assert seen.promised_alarms_a_day == pytest.approx(86.4)
    assert seen.rows_an_entity == pytest.approx(10_000)
    assert seen.memory_bytes == round(10 * 32 * 16 * 1.1 + 10 * 208)
    assert seen.refill_s == pytest.approx(320e-5)


def test_unseen_entities_are_estimated_from_those_seen_once() -> None:
    assert estimated_kinds({"a": 5, "b": 4}) == 2
    assert estimated_kinds({str(place): 1 for place in range(10)}) == 10 + 45
    assert estimated_kinds({}) == 0


def test_fields_are_listed_as_paths() -> None:
    assert fields_of([b'{"a":{"b":1,"c":{"d":2}},"e":[1]}', b"{", None, b"7"]) == ("a.b", "a.c.d", "e")
