"""A sample of records through the worker's own rooms, in numbers."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from schemas.manifest import QUANTILE_LEVELS
from tests.artifacts import artifact_model, manifest_of, sealed_bytes, with_manifest
from tests.least_settings import least_settings
from worker.batch import Records, TopicPartition
from worker.detector import Detector, ExplainRule
from worker.model_store import Artifact, load_artifact
from worker.sample_survey import SampleFacts, survey_sample

SECOND_MS = 1000


def records(values: Sequence[object], *, keys: Sequence[bytes | None], partition: int = 0) -> Records:
    count = len(values)
    return Records(
        partitions=[TopicPartition("events", partition)],
        partition=np.zeros(count, np.int64),
        offset=np.arange(count, dtype=np.int64),
        timestamp=np.arange(1, count + 1, dtype=np.int64) * SECOND_MS,
        key=list(keys),
        value=[json.dumps(value).encode() for value in values],
        headers=lambda _: (),
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two features with known quantiles: x from -1 to 1."""
    model = artifact_model(features=("x", "y"), window=4, min_length=2)
    manifest = manifest_of(model)
    x, y = manifest.features
    known = x.model_copy(update={"quantiles": [2 * level - 1 for level in QUANTILE_LEVELS]})
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(sealed_bytes(with_manifest(model, manifest.model_copy(update={"features": [known, y]}))))
    return load_artifact(str(path), sha256=None)


def surveyed(artifact: Artifact, *batches: Records, known: Sequence[str] = (), **sections: object) -> SampleFacts:
    detector = Detector(artifact, provider="cpu", threads=1, explain=ExplainRule(when="never", threshold=1.0))
    manifest = artifact.manifest.model_copy(update={"entities": list(known)})
    return survey_sample(batches, least_settings(**sections), manifest, detector)


def test_entities_that_the_model_does_not_know_are_counted(artifact: Artifact) -> None:
    batch = records([{"x": 0, "y": 0}] * 5, keys=[b"a", b"b", b"b", b"c", b"a"])
    assert surveyed(artifact, batch, known=["a"]).strangers == {"b": 2, "c": 1}
    assert surveyed(artifact, batch).strangers == {}, "it knows none by name: all are the same to it"


def test_valid_refused_and_skipped_are_counted_with_an_example(artifact: Artifact) -> None:
    values = [{"x": 0, "y": 0, "kind": 1}] * 3 + [{"x": "0", "y": 0, "kind": 1}, {"x": 0, "y": 0, "kind": 2}]
    facts = surveyed(artifact, records(values, keys=[b"a"] * 5), events={"where": {"kind": 1}})
    assert (facts.records, facts.valid, facts.skipped, facts.refused) == (5, 3, 1, {"wrong_type": 1})
    assert '"x"' in facts.refusals["wrong_type"]


def test_windows_too_short_to_judge_are_not_counted_as_alarms(artifact: Artifact) -> None:
    far = {"x": 1000, "y": 1000}
    assert surveyed(artifact, records([far] * 3, keys=[b"a", b"b", b"c"])).scored == 0
    facts = surveyed(artifact, records([far] * 3, keys=[b"a"] * 3))
    assert (facts.scored, facts.above) == (2, 2)


def test_missing_values_of_refused_events_count(artifact: Artifact) -> None:
    values = [{"x": 0.5, "y": 1}, {"y": 1}, {}, {"x": 0.5}]
    facts = surveyed(artifact, records(values, keys=[b"a"] * 4))
    assert [feature.missing for feature in facts.features] == [0.5, 0.5]
    assert facts.refused == {"missing_features": 1}


def test_values_outside_the_training_data_are_a_share(artifact: Artifact) -> None:
    values = [{"x": x, "y": 0} for x in (-5, -0.5, 0, 0.5)]
    x, y = surveyed(artifact, records(values, keys=[b"a"] * 4)).features
    assert (x.outside, x.median, x.training_median) == (0.25, -0.25, 0.0)
    assert (y.outside, y.training_median) == (None, None)


def test_rates_come_from_event_times_and_add_up_over_partitions(artifact: Artifact) -> None:
    values = [{"x": 0, "y": 0}] * 11
    one, other = (records(values, keys=[b"%d" % place] * 11, partition=place) for place in range(2))
    facts = surveyed(artifact, one, other)
    assert facts.per_day == pytest.approx(2 * 86_400)
    still = replace(one, timestamp=np.full(11, SECOND_MS))
    assert surveyed(artifact, still).per_day is None


def test_an_entity_in_two_partitions_of_a_topic_is_found(artifact: Artifact) -> None:
    values = [{"x": 0, "y": 0}] * 2
    one = records(values, keys=[b"a", b"b"])
    other = records(values, keys=[b"b", b"c"], partition=1)
    assert surveyed(artifact, one, other).in_several == [
        ("b", [TopicPartition("events", 0), TopicPartition("events", 1)])
    ]


def test_a_sample_without_a_valid_event_is_told_in_numbers_too(artifact: Artifact) -> None:
    facts = surveyed(artifact, records([[], 7], keys=[b"a", b"b"]))
    assert (facts.valid, facts.scored, facts.per_day, facts.entities) == (0, 0, None, 0)
    assert [feature.missing for feature in facts.features] == [0.0, 0.0]
    assert surveyed(artifact).records == 0
