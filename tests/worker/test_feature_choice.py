"""Which features are captured, and who says so."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.settings import EventSettings
from tests.artifacts import make_artifact
from tests.least_settings import least_settings
from worker.batch import Records, TopicPartition
from worker.errors import ConfigError
from worker.feature_choice import choose_features, events_with


def batches(*values: bytes, count: int = 3) -> Iterator[Records]:
    for _ in range(count):
        yield Records(
            partitions=[TopicPartition("events", 0)],
            partition=np.zeros(len(values), np.int64),
            offset=np.arange(len(values), dtype=np.int64),
            timestamp=np.ones(len(values), np.int64),
            key=[b"a"] * len(values),
            value=list(values),
            headers=lambda _: (),
        )


def test_what_is_asked_for_goes_before_the_model_the_settings_and_the_events(tmp_path: Path) -> None:
    model = str(make_artifact(tmp_path / "model.onnx", features=("m",)))
    mapped = {"features": {"s": "a.b"}}
    with_all = least_settings(model={"uri": model}, events=mapped)
    assert choose_features(with_all, ["q"], batches()).names == ("q",)
    assert choose_features(with_all, None, batches()).names == ("m",)
    assert choose_features(least_settings(events=mapped), None, batches()).names == ("s",)
    assert choose_features(least_settings(), None, batches(b'{"e":1}')).names == ("e",)


def test_looking_at_events_loses_none() -> None:
    choice = choose_features(least_settings(), None, batches(b'{"e":1}', b'{"e":2}', count=2000))
    assert sum(map(len, choice.batches)) == 4000


def test_entity_time_and_filters_are_no_features() -> None:
    events = {"entity": "id", "timestamp": "time.ms", "where": {"kind": 1}}
    value = b'{"id":7,"time":1,"kind":1,"cpu":2}'
    assert choose_features(least_settings(events=events), None, batches(value)).names == ("cpu",)


def test_events_without_a_number_ask_for_paths() -> None:
    with pytest.raises(ConfigError, match=r"name paths in events\.features"):
        choose_features(least_settings(), None, batches(b'{"inner":{"x":1}}'))


def test_a_feature_named_like_another_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="column 'entity' of its own"):
        choose_features(least_settings(), ["cpu", "entity"], batches())


def test_settings_of_other_features_are_left_out() -> None:
    events = EventSettings(features={"a": "x.a", "b": "x.b"}, required=["b"])
    kept = events_with(events, ["a"])
    assert (kept.features, kept.required) == ({"a": "x.a"}, [])
