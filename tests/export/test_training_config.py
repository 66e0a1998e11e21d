"""Options and a YAML file become one set of settings."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from export.errors import UsageError
from export.training_config import TrainingConfig, load_config

CsvFile = Callable[..., Path]


def test_options_override_the_file(csv_file: CsvFile) -> None:
    path = csv_file("data: a.csv", "output: a.onnx", "window: 64", "alarm-rate: 0.01", name="train.yaml")
    config = load_config(path, {"window": "48", "seed": None})
    assert (config.data, config.window, config.alarm_rate, config.seed) == ([Path("a.csv")], 48, 0.01, 0)


def test_lists_are_lists_or_text_with_commas() -> None:
    given = {"data": ["a.csv"], "output": "a.onnx"}
    assert load_config(None, {**given, "features": "a, b,c"}).features == ["a", "b", "c"]
    assert load_config(None, {**given, "features": ["a,b"], "hidden": "64,32"}).features == ["a,b"]
    assert load_config(None, {**given, "hidden": "64,32"}).hidden == [64, 32]


def test_noise_and_dropout_may_be_none_at_all() -> None:
    config = load_config(None, {"data": ["a.csv"], "output": "a.onnx", "noise": "0", "dropout": "0"})
    assert (config.noise, config.dropout) == (0, 0)


def test_the_file_names_the_column_of_labels_too(csv_file: CsvFile) -> None:
    path = csv_file("data: a.csv", "output: a.onnx", "label: incident", name="train.yaml")
    assert load_config(path, {}).label == "incident"


def test_a_window_counts_from_half_its_rows_on() -> None:
    given = {"data": ["a.csv"], "output": "a.onnx"}
    assert load_config(None, {**given, "window": 32}).warm_length == 16
    assert load_config(None, {**given, "window": 1}).warm_length == 1
    assert load_config(None, {**given, "window": 32, "min_length": 20}).warm_length == 20


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": None}, "--data is required"),
        ({"output": None}, "--output is required"),
        ({"window": "0"}, "--window must be at least 1, not '0'."),
        ({"window": "5000"}, "--window must be at most 4096, not '5000'."),
        ({"window": "many"}, "--window must be a whole number, not 'many'."),
        ({"window": 1.5}, "--window must be a whole number, not 1.5."),
        ({"window": [1]}, "--window must be a whole number."),
        ({"alarm_rate": "1"}, "--alarm-rate must be less than 0.5, not '1'."),
        ({"alarm_rate": "rare"}, "--alarm-rate must be a number, not 'rare'."),
        ({"alarm_rate": 0}, "--alarm-rate must be more than 1e-09, not 0."),
        ({"max_gap": "inf"}, "--max-gap must be a finite number, not 'inf'."),
        ({"max_gap": "0"}, "--max-gap must be more than 0, not '0'."),
        ({"seed": "4294967296"}, "--seed must be at most 4294967295, not '4294967296'."),
        ({"hidden": "64,0"}, "--hidden must be at least 1, not '0'."),
        ({"hidden": {"a": 1}}, "--hidden must be a list."),
        ({"data": []}, "--data is empty: give at least 1."),
        ({"data": [5]}, "--data must be the name of a file, not 5."),
        ({"name": ""}, "--name is empty: give it a value, or leave it out."),
        ({"name": "n" * 201}, "--name must have at most 200 characters."),
        ({"entity": 5}, "--entity must be text, not 5."),
        ({"output": "a.pt"}, "--output a.pt: its name must end in .onnx."),
        (
            {"window": 32, "min_length": "33"},
            "--min-length 33 is more than the window's 32 rows: lower it, or raise --window.",
        ),
        ({"entity": "a", "features": "a,b"}, "The column 'a' is named twice among --entity, --timestamp,"),
        (
            {"alerts_per_day": 5, "alarm_rate": 0.01},
            "--alarm-rate and --alerts-per-day both say how many alarms there may be: give one of them.",
        ),
        (
            {"events_per_day": 5},
            "--events-per-day says what --alerts-per-day is out of: give that too, or leave it out.",
        ),
        ({"alerts_per_day": 0}, "--alerts-per-day must be more than 0, not 0."),
        ({"kind": "tabular", "window": 8}, "--kind tabular judges each event by itself: leave --window 8 out."),
        ({"kind": "sensor", "window": 1}, "--window 1 judges each event by itself: that is --kind tabular."),
        ({"kind": "sound"}, "--kind must be 'sensor', 'tabular', 'log' or 'image', not 'sound'."),
        ({"image_shape": "8,8"}, "--image-shape tells the size of pictures: give --kind image too."),
        ({"kind": "image", "image_shape": "8"}, "--image-shape must be height and width, and channels where there"),
        ({"kind": "image", "image_shape": "8,0"}, "--image-shape must be at least 1, not '0'."),
        ({"kind": "image", "image_shape": "8,8,3,1"}, "--image-shape must be height and width, and channels where"),
        ({"noise": -1}, "--noise must be at least 0, not -1."),
        ({"dropout": -0.1}, "--dropout must be at least 0, not -0.1."),
        ({"label": ""}, "--label is empty: give it a value, or leave it out."),
        ({"label": "b", "features": "a,b"}, "The column 'b' is named twice among --entity, --timestamp, --label,"),
        ({"sparsity": 1.5}, "--sparsity must be at most 1.0, not 1.5."),
        ({"dropout": 1}, "--dropout must be less than 1, not 1."),
        ({"depth": 9}, "--depth must be at most 8, not 9."),
        ({"timestamp_unit": "days"}, "--timestamp-unit must be 's', 'ms', 'us', 'ns' or 'iso8601', not 'days'."),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        load_config(None, {"data": ["a.csv"], "output": "a.onnx", **settings})


def budget(**settings: object) -> TrainingConfig:
    return load_config(None, {"data": ["a.csv"], "output": "a.onnx", **settings})


def test_a_budget_of_alerts_becomes_an_alarm_rate() -> None:
    assert budget(alerts_per_day=5).with_alarm_rate(10_000).alarm_rate == 0.0005
    assert budget(alerts_per_day=5, events_per_day=50_000).with_alarm_rate(10_000).alarm_rate == 0.0001
    assert budget(alarm_rate=0.01).with_alarm_rate(10_000).alarm_rate == 0.01
    assert budget().with_alarm_rate(None).alarm_rate == 0.001


@pytest.mark.parametrize(
    ("alerts", "events", "sentence"),
    [
        (5, None, "--alerts-per-day needs --events-per-day, since the data have no times to count them by, or"),
        (
            50,
            60,
            "--alerts-per-day 50 of 60 events a day would be an alarm rate of 0.83; it must lie between 1e-09 and",
        ),
        (1e-9, 1e6, "would be an alarm rate of 1e-15"),
    ],
)
def test_a_budget_without_a_measure_or_beyond_use_is_refused(
    alerts: float, events: float | None, sentence: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        budget(alerts_per_day=alerts).with_alarm_rate(events)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("windw: 3", r"train\.yaml: 'windw' is no setting of train; did you mean 'window'\?$"),
        ("zzz: 3", r"'zzz' is no setting of train; `anomaly-export train --help` lists them\.$"),
        ("- a", "one `name: value` a line"),
        ("a: [", "is not YAML"),
    ],
)
def test_wrong_files_are_named(csv_file: CsvFile, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_config(csv_file(text, name="train.yaml"), {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.yaml cannot be read: No such file or directory\.$"):
        load_config(tmp_path / "absent.yaml", {})


def test_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    config, data = tmp_path / "train.onnx", tmp_path / "july.csv"
    config.write_text("window: 8")
    data.write_text("x")
    linked = tmp_path / "link.onnx"
    for read in (config, data):
        linked.symlink_to(read)
        with pytest.raises(UsageError, match=rf"would overwrite {read}, which is read: give another name\.$"):
            load_config(config, {"data": [data], "output": linked})
        linked.unlink()
    assert load_config(config, {"data": [data], "output": linked}).window == 8
