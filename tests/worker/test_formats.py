"""What the rooms are told, from settings and a manifest."""

import pytest

from schemas.manifest import Manifest
from schemas.settings import EventSettings
from tests.artifacts import artifact_bytes, artifact_model, manifest_of
from tests.least_settings import least_settings
from worker.errors import ConfigError
from worker.formats import event_format, message_max_bytes, output_format, spec, window_format
from worker.model_store import Artifact


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return manifest_of(artifact_model(features=("x", "y.z"), window=8, min_length=3, max_gap_s=1.5))


def events(**about: object) -> EventSettings:
    return EventSettings.model_validate(about)


def test_features_stand_in_the_models_order_each_at_its_path_or_its_own_name() -> None:
    form = event_format(events(features={"b": "inner.value"}), ["a.b", "b"])
    assert form.features == (("a.b", ("a.b",)), ("b", ("inner", "value")))


def test_paths_are_split_once_here() -> None:
    form = event_format(
        events(entity="machine.id", timestamp=r"a\.b.c", where={"kind": ["x", None]}, passthrough=["p.q"]), ["x"]
    )
    assert (form.entity, form.timestamp) == (("machine", "id"), ("a.b", "c"))
    assert form.where == {("kind",): ("x", None)}
    assert form.passthrough == (("p", "q"),)


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        (
            {"features": {"cpu_lod": "a"}},
            "events.features: the model has no feature 'cpu_lod'; did you mean 'cpu_load'?",
        ),
        ({"required": ["zzz"]}, "events.required: the model has no feature 'zzz'; it has cpu_load, mem"),
    ],
)
def test_a_feature_that_the_model_does_not_have_is_refused_with_the_nearest(about: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        event_format(events(**about), ["cpu_load", "mem"])
    assert str(caught.value) == sentence


def test_the_encoder_is_told_of_the_model_and_the_alert(manifest: Manifest) -> None:
    artifact = Artifact(artifact_bytes(), manifest, "ab" * 32)
    form = output_format(least_settings(alert={"threshold": 2.0}, explain={"top": 5}), artifact)
    assert (form.features, form.min_length, form.threshold, form.top) == (("x", "y.z"), 3, 2.0, 5)
    assert (form.model_sha256, form.dead_letter_topic) == ("ab" * 32, "dead-letters")


def test_windows_take_their_gap_in_milliseconds(manifest: Manifest) -> None:
    form = window_format(least_settings(lookback_offsets=50), manifest)
    assert (form.window, form.features, form.lookback_offsets, form.max_gap_ms) == (8, 2, 50, 1500)


def test_a_producer_takes_the_largest_refused_event_unless_told_otherwise() -> None:
    assert message_max_bytes(least_settings(events={"max_bytes": 2_000_000})) == 2_048_000
    kafka = dict(least_settings().kafka) | {"producer": {"message.max.bytes": "3000000"}}
    assert message_max_bytes(least_settings(kafka=kafka)) == 3_000_000


SAME_WINDOWS = [
    {"alert": {"threshold": 2.0}},
    {"explain": {"when": "never"}},
    {"batch": {"max_events": 7}},
    {"events": {"passthrough": ["a"], "forward_headers": ["b"]}},
    {"delivery": "at-least-once"},
]
OTHER_WINDOWS = [
    {"lookback_offsets": 7},
    {"events": {"entity": "a"}},
    {"events": {"timestamp": "a"}},
    {"events": {"timestamp_unit": "s"}},
    {"events": {"features": {"x": "a"}}},
    {"events": {"where": {"a": 1}}},
    {"events": {"where": {"a": True}}},
    {"events": {"where": {"a": "1"}}},
    {"events": {"required": ["x"]}},
    {"events": {"max_missing": 0.1}},
    {"events": {"max_bytes": 10}},
]


@pytest.mark.parametrize("about", SAME_WINDOWS)
def test_the_spec_does_not_change_with_what_changes_no_window(manifest: Manifest, about: dict) -> None:
    assert spec(least_settings(**about), manifest) == spec(least_settings(), manifest)


def test_the_spec_changes_with_everything_that_decides_validity_or_windows(manifest: Manifest) -> None:
    other_models = [manifest.model_copy(update=change) for change in ({"window": 9}, {"max_gap_s": None})]
    specs = [
        spec(least_settings(), manifest),
        *(spec(least_settings(**about), manifest) for about in OTHER_WINDOWS),
        *(spec(least_settings(), model) for model in other_models),
    ]
    assert len(set(specs)) == len(specs)


def test_the_order_of_mappings_is_no_part_of_the_spec(manifest: Manifest) -> None:
    one = least_settings(events={"where": {"a": [1, 2], "b": 3}, "features": {"x": "p", "y.z": "q"}})
    other = least_settings(events={"where": {"b": 3, "a": [2, 1]}, "features": {"y.z": "q", "x": "p"}})
    assert spec(one, manifest) == spec(other, manifest)
