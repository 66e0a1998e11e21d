"""Options and a YAML file become one set of settings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from export.errors import UsageError
from export.training_config import load_config

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


def test_a_window_counts_from_half_its_rows_on() -> None:
    given = {"data": ["a.csv"], "output": "a.onnx"}
    assert load_config(None, given).warm_length == 16
    assert load_config(None, {**given, "window": 1}).warm_length == 1
    assert load_config(None, {**given, "min_length": 20}).warm_length == 20


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": None}, "--data is required"),
        ({"output": None}, "--output is required"),
        ({"window": "0"}, "--window: Input should be greater than or equal to 1"),
        ({"window": "many"}, "--window: Input should be a valid integer"),
        ({"alarm_rate": "1"}, "--alarm-rate: Input should be less than 0.5"),
        ({"output": "a.pt"}, "must end in .onnx"),
        ({"min_length": "33"}, "min-length 33 is more than the window's 32 rows"),
        ({"entity": "a", "features": "a,b"}, "column 'a' is named twice"),
        ({"timestamp_unit": "days"}, "--timestamp-unit: Input should be 's', 'ms'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")):
        load_config(None, {"data": ["a.csv"], "output": "a.onnx", **settings})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("windw: 3", "'windw' is no setting of train; did you mean 'window'"),
        ("- a", "one `name: value` a line"),
        ("a: [", "is not YAML"),
    ],
)
def test_wrong_files_are_named(csv_file: CsvFile, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_config(csv_file(text, name="train.yaml"), {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml", {})
