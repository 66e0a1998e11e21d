"""What a training remarks on that would otherwise be taken in silence, and how its report names what was chosen."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from rich.console import Console

from export.artifact import read_manifest
from export.cli import main
from export.errors import UsageError
from export.inspection import _shown, print_manifest
from export.report import TrainingReport, alarm_sentence, learnt_label, print_report, same_times
from export.training import train
from export.training_config import load_config
from tests.export.conftest import START_MS, SilentWatch

ROWS = 400
CHANCE = np.random.default_rng(0)
LABEL = (np.arange(ROWS) % 40 == 0).astype(np.int64)
VALUES = {"x": CHANCE.normal(size=ROWS), "y": CHANCE.normal(size=ROWS)}


def trained_on(folder: Path, columns: dict[str, object], **told: object) -> TrainingReport:
    """A plain detector: what is remarked on lies in the rows."""
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    settings = {"detector": "pca", "kind": "tabular", **told}
    return train(load_config(None, {"data": [path], "output": folder / "m.onnx", **settings}), SilentWatch())


def inspected(path: Path) -> str:
    console = Console(width=200, file=io.StringIO())
    print_manifest(read_manifest(path), console)
    return " ".join(console.file.getvalue().split())


def printed(report: TrainingReport) -> str:
    console = Console(width=200, file=io.StringIO())
    print_report(report, console)
    return " ".join(console.file.getvalue().split())


def remarks_with(report: TrainingReport, words: str) -> list[str]:
    return [remark for remark in report.remarks if words in remark]


def test_labels_that_are_learnt_as_a_feature_are_remarked_on(tmp_path: Path) -> None:
    report = trained_on(tmp_path, {**VALUES, "label": LABEL})
    assert report.features == ("x", "y", "label")
    (remark,) = remarks_with(report, "train with --label label")
    assert remark.startswith("label holds nothing but 0 and 1 and is learnt as a feature")
    assert remark in inspected(report.output)


def test_a_column_of_labels_is_left_out_but_not_its_rows(tmp_path: Path) -> None:
    report = trained_on(tmp_path, {**VALUES, "label": LABEL}, label="label")
    assert (report.features, report.left_out, report.rows) == (("x", "y"), ("label (int64)",), ROWS)
    assert not remarks_with(report, "--label")
    unlabelled = trained_on(tmp_path, VALUES)
    assert unlabelled.digest == report.digest


def test_a_column_of_labels_that_no_file_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no column 'lable'; it has x, y, label"):
        trained_on(tmp_path, {**VALUES, "label": LABEL}, label="lable")


def test_labels_that_were_asked_for_as_a_feature_are_not_remarked_on(tmp_path: Path) -> None:
    assert not remarks_with(trained_on(tmp_path, {**VALUES, "label": LABEL}, features="x,label"), "--label")


@pytest.mark.parametrize(
    ("name", "values", "remarked"),
    [
        ("Is_Fraud", [0.0, 1.0], True),
        ("label", [0.0, float("nan")], True),
        ("y", [0.0, 0.5, 1.0], False),
        ("valve", [0.0, 1.0], False),
    ],
)
def test_a_label_is_told_by_name_and_values(name: str, values: list[float], *, remarked: bool) -> None:
    assert (learnt_label(name, values) is not None) == remarked


def test_the_report_tells_what_was_chosen(tmp_path: Path) -> None:
    told = printed(trained_on(tmp_path, VALUES, detector="auto", epochs=1))
    assert "detector dae + prototypes, window 1 row (detector and window chosen by kind and data;" in told
    told = printed(trained_on(tmp_path, VALUES, kind="sensor"))
    assert "detector pca, window 48 rows (window chosen by kind and data; docs/quality.md tells the rules)" in told
    assert "detector pca, window 8 rows windows" in printed(trained_on(tmp_path, VALUES, kind="sensor", window=8))


def test_derived_inputs_are_told_in_words(tmp_path: Path) -> None:
    report = trained_on(tmp_path, {"who": [f"c{row % 8}" for row in range(ROWS)], "x": VALUES["x"]}, entity="who")
    derived = "derived x: over its median, x: mean, x: deviation"
    assert derived in printed(report)
    assert "(window and derived inputs chosen by kind and data;" in printed(report)
    told = inspected(report.output)
    assert derived in told
    assert "window 64 events of an entity, scored from the first on" in told


def test_one_event_and_one_entity_are_told_as_one(tmp_path: Path) -> None:
    told = inspected(trained_on(tmp_path, VALUES).output)
    assert "window each event by itself" in told
    assert "400 rows of one entity;" in told


def test_features_that_never_move_are_remarked_on(tmp_path: Path) -> None:
    still = {"x": np.full(ROWS, 3.0), "y": np.full(ROWS, 7.0)}
    assert remarks_with(trained_on(tmp_path, still), "no feature moves in the training rows")
    assert not remarks_with(trained_on(tmp_path, {**still, "z": VALUES["x"]}), "no feature moves")


def test_entities_of_one_row_have_no_past_and_that_is_remarked_on(tmp_path: Path) -> None:
    alone = {"who": [f"c{row}" for row in range(ROWS)], **VALUES}
    assert remarks_with(trained_on(tmp_path, alone, entity="who", kind="sensor"), "hardly any window holds more than")
    assert not remarks_with(trained_on(tmp_path, alone, entity="who"), "hardly any window")
    assert not remarks_with(trained_on(tmp_path, VALUES, kind="sensor"), "hardly any window")


def test_rows_of_one_time_are_counted_where_their_order_counts(tmp_path: Path) -> None:
    """Two entities take turns: that both have a row at a time is no repetition."""
    times = START_MS + 60_000 * (np.arange(ROWS) // 2)
    times[[101, 103]] = times[99]  # all three rows are of one entity
    rows = {"who": ["a", "b"] * (ROWS // 2), "time": times, **VALUES}
    told = {"entity": "who", "timestamp": "time", "timestamp_unit": "ms"}
    sensor = trained_on(tmp_path, rows, **told, kind="sensor", window=4)
    assert remarks_with(
        sensor, "2 rows have the time of the entity's row before: these count in the order of the file."
    )
    assert not remarks_with(trained_on(tmp_path, rows, **told, derive="none"), "the time of the entity's row")


def test_of_a_large_file_the_rows_of_one_time_are_at_least_those_that_were_kept() -> None:
    assert same_times(0, of_all=False) == ()
    assert same_times(1, of_all=False)[0].startswith("at least 1 row has the time")


def test_ranges_that_are_given_twice_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.parquet"
    times = START_MS + 60_000 * np.arange(ROWS)
    pyarrow.parquet.write_table(pa.table({"time": times, **VALUES}), path)
    first, second = (f"{times[row]}/{times[row + 9]}" for row in (100, 200))
    command = ["train", "--data", str(path), "--output", str(tmp_path / "m.onnx"), "--timestamp", "time"]
    options = ["--detector", "pca", "--window", "4", "--exclude-ranges", first, "--exclude-ranges", f"{second}, "]
    assert main([*command, *options]) == 0
    assert "20 rows in --exclude-ranges were not learnt from." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("family", ["dae", "conv-ae"])
def test_denoising_families_take_no_noise_and_no_dropout(family: str, tmp_path: Path) -> None:
    told = {"detector": family, "kind": "sensor", "window": 16, "epochs": 1, "noise": 0, "dropout": 0}
    report = trained_on(tmp_path, VALUES, **told)
    assert read_manifest(report.output).detector.hyperparameters["noise"] == 0
    assert np.isfinite(report.validation_error)


def test_how_many_alarms_a_day_come_is_told_where_that_is_known() -> None:
    assert "a day at 2,000 events a day" in alarm_sentence(alarm_rate=0.01, events_per_day=2000, entities=1)
    assert "or all are the same" in alarm_sentence(alarm_rate=0.01, events_per_day=None, entities=1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [([256, 64], "256-64"), ([], "none"), ([[4, 0.12], [8, 0.09]], "[[4, 0.12], [8, 0.09]]"), (3, "3")],
)
def test_only_lists_of_sizes_are_shown_as_layers(value: object, shown: str) -> None:
    assert _shown(value) == shown
