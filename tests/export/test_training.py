"""Trains small detectors and looks at what came of them."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from rich.console import Console
from torch import nn

from export.artifact import read_manifest
from export.detector import Detector as UntrainedDetector
from export.detector import Fitted
from export.errors import DataError, ParityError, UsageError
from export.families import FAMILIES, Family
from export.inspection import print_manifest
from export.parity import runtime_session
from export.report import TrainingReport, few_windows
from export.training import train
from export.training_config import KNOBS, load_config
from schemas.artifact import ALLOWED_DOMAINS, CONTRIBUTION, EXPECTED, P_VALUE, SCORE, STEP_SCORE, WINDOW
from tests.export.conftest import FEATURES, STEP_MS, SilentWatch, config, machine, machine_table
from worker.detector import Detector, ExplainRule
from worker.model_store import load_artifact

OUTPUTS = (SCORE, P_VALUE, CONTRIBUTION, EXPECTED, STEP_SCORE)


def outputs(path: Path, window: np.ndarray) -> dict[str, np.ndarray]:
    session = runtime_session(path.read_bytes())
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {WINDOW: window}), strict=True))


def windows_of(values: np.ndarray, window: int) -> np.ndarray:
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, window, axis=0).transpose(0, 2, 1))


@pytest.fixture(scope="module")
def unseen() -> np.ndarray:
    """Windows of a machine like those of the training."""
    return windows_of(machine(1500, seed=1)[1000:], 16)


def test_the_report_tells_what_was_trained_and_what_the_alarm_rate_means(trained: TrainingReport) -> None:
    assert (trained.rows, trained.entities, trained.features) == (3000, 3, FEATURES)
    assert trained.left_out == ("remark (text)",)
    assert trained.validation_error < 0.7
    assert sum(trained.windows) > 2800
    assert trained.events_per_day == pytest.approx(3 * 86_400_000 / STEP_MS, rel=0.01)
    assert "few for an alarm rate" in trained.remarks[0]


def test_inspect_says_too_that_few_windows_were_calibrated_on(trained: TrainingReport) -> None:
    console = Console(width=200, file=io.StringIO())
    print_manifest(read_manifest(trained.output), console)
    assert trained.remarks[0] in console.file.getvalue()


@pytest.mark.parametrize(("windows", "rate", "sentences"), [(99, 0.1, 1), (100, 0.1, 0), (999, 0.001, 1)])
def test_few_windows_are_told(windows: int, rate: float, sentences: int) -> None:
    assert len(few_windows(windows=windows, alarm_rate=rate)) == sentences


def test_normal_windows_score_above_one_about_as_often_as_the_alarm_rate_says(
    machines: Path, tmp_path: Path, unseen: np.ndarray
) -> None:
    report = train(config(machines, tmp_path / "often.onnx", alarm_rate=0.05), SilentWatch())
    score = outputs(report.output, unseen)[SCORE]
    assert 0.01 < np.mean(score > 1) < 0.15


def test_a_budget_of_alerts_is_the_alarm_rate_of_the_file(machines: Path, tmp_path: Path) -> None:
    report = train(
        config(machines, tmp_path / "budget.onnx", detector="pca", epochs=None, alerts_per_day=43.2), SilentWatch()
    )
    assert read_manifest(report.output).alarm_rate == pytest.approx(43.2 / (3 * 1440), rel=0.01)


def test_a_window_says_of_each_of_its_rows_what_it_scores(trained: TrainingReport, unseen: np.ndarray) -> None:
    result = outputs(trained.output, unseen[:5])
    np.testing.assert_array_equal(result[STEP_SCORE], np.repeat(result[SCORE][:, None], 16, axis=1))
    assert STEP_SCORE in read_manifest(trained.output).golden.outputs


def test_a_disturbance_scores_high_and_is_blamed_on_its_feature(trained: TrainingReport, unseen: np.ndarray) -> None:
    disturbed = unseen[:50].copy()
    disturbed[:, -1, 1] += 3.0  # as much as the current moves in one turn
    result = outputs(trained.output, disturbed)
    assert np.mean(result[SCORE] > 1) > 0.9
    assert (result[CONTRIBUTION].sum(axis=1).argmax(axis=1) == 1).mean() > 0.9
    assert np.abs(result[EXPECTED][:, -1, 1] - unseen[:50, -1, 1]).mean() < 1.5


def test_windows_still_filling_or_with_holes_score_like_others(trained: TrainingReport, unseen: np.ndarray) -> None:
    filling, holed = unseen.copy(), unseen.copy()
    filling[:, :8] = np.nan
    holed[np.random.default_rng(0).random(holed.shape) < 0.1] = np.nan
    for windows in (filling, holed):
        score = outputs(trained.output, windows)[SCORE]
        assert np.mean(score > 1) < 0.03
        assert 0.05 < np.median(score) < 0.3


def test_a_window_without_any_value_is_finite_and_blames_its_last_row_alike(trained: TrainingReport) -> None:
    result = outputs(trained.output, np.full((2, 16, 3), np.nan, np.float32))
    assert (result[SCORE] == 0).all()
    assert (result[P_VALUE] == 1).all()
    np.testing.assert_allclose(result[CONTRIBUTION][:, -1], 1 / 3, rtol=1e-6)
    assert np.isfinite(result[EXPECTED]).all()


def test_values_beyond_all_measure_are_finite_too(trained: TrainingReport) -> None:
    largest = np.finfo(np.float32).max
    result = outputs(trained.output, np.full((1, 16, 3), largest, np.float32) * np.float32(-1))
    assert all(np.isfinite(values).all() for values in result.values())
    assert result[SCORE] > 2
    assert 0 < result[P_VALUE] < 1e-6


def test_contributions_are_shares(trained: TrainingReport, unseen: np.ndarray) -> None:
    shares = outputs(trained.output, unseen)[CONTRIBUTION]
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_the_manifest_says_all_that_a_worker_must_know(trained: TrainingReport) -> None:
    manifest = read_manifest(trained.output)
    assert (manifest.name, manifest.kind, manifest.feature_names) == ("machines", "sensor", FEATURES)
    assert (manifest.window, manifest.min_length, manifest.alarm_rate) == (16, 8, 0.001)
    assert manifest.training.rows == 3000
    assert manifest.digest == trained.digest
    assert manifest.features[0].quantiles == sorted(manifest.features[0].quantiles or [])
    assert manifest.calibration.threshold > manifest.calibration.tail_start


def test_the_golden_windows_are_reproduced_and_show_holes_and_filling(trained: TrainingReport) -> None:
    golden = read_manifest(trained.output).golden
    window = golden.inputs[WINDOW].array()
    assert np.isnan(window[:, 0]).all(axis=1).any()
    assert np.isnan(window).all(axis=(1, 2)).any()
    result = outputs(trained.output, window)
    for name, tensor in golden.outputs.items():
        tolerance = golden.tolerances[name]
        np.testing.assert_allclose(result[name], tensor.array(), atol=tolerance.absolute, rtol=tolerance.relative)


def test_the_worker_accepts_the_file_and_scores_with_it(trained: TrainingReport) -> None:
    artifact = load_artifact(str(trained.output), sha256=trained.digest)
    detector = Detector(artifact, provider="cpu", threads=1, explain=ExplainRule(when="never", threshold=1.0))
    assert detector.manifest.name == "machines"


def test_nothing_is_learnt_from_excluded_ranges(tmp_path: Path) -> None:
    """150 of the newest 300 rows are a failure, which would otherwise calibrate the score."""
    table = machine_table(machines=1, rows=1500)
    failing = np.asarray(table["current"]) + np.where((np.arange(1500) < 1200) | (np.arange(1500) >= 1350), 0, 40)
    path = tmp_path / "failure.parquet"
    pyarrow.parquet.write_table(table.set_column(3, "current", pa.array(failing)), path)
    first, last = (str(table["time"][row].as_py()) for row in (1200, 1349))
    ranges = [f"{first}/{last}"]
    report = train(
        config(path, tmp_path / "fit.onnx", detector="pca", epochs=None, exclude_ranges=ranges), SilentWatch()
    )
    assert "150 rows in --exclude-ranges were not learnt from." in report.remarks
    window = windows_of(machine(1500, seed=0)[1334:1350], 16).copy()
    window[..., 1] += 40
    assert outputs(report.output, window)[SCORE] > 2
    assert sum(report.windows) < 1350


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"exclude_ranges": "2024-05-01"}, "--exclude-ranges 2024-05-01: give START/END"),
        ({"exclude_ranges": "then/now"}, "--exclude-ranges then/now: 'then' is no timestamp"),
        ({"exclude_ranges": "2024-05-02/2024-05-01"}, "it ends before it starts"),
        ({"exclude_ranges": "1/2", "timestamp": None}, "--exclude-ranges needs --timestamp"),
    ],
)
def test_wrong_ranges_are_named(machines: Path, tmp_path: Path, told: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        train(config(machines, tmp_path / "x.onnx", **told), SilentWatch())


def test_ranges_that_hold_nothing_are_remarked_on(machines: Path, tmp_path: Path) -> None:
    told = {"detector": "pca", "epochs": None, "exclude_ranges": ["1999-01-01/1999-01-02"]}
    remarks = train(config(machines, tmp_path / "x.onnx", **told), SilentWatch()).remarks
    assert any(remark.startswith("no row lies in --exclude-ranges") for remark in remarks)


def test_the_file_is_plain_onnx_and_tells_nothing_of_this_machine(trained: TrainingReport) -> None:
    content = trained.output.read_bytes()
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert {imported.domain for imported in model.opset_import} <= ALLOWED_DOMAINS
    assert min(imported.version for imported in model.opset_import) >= 18
    assert not model.functions
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    for trace in (b".py", b"site-packages", str(Path.cwd()).encode()):
        assert trace not in content


def test_equal_data_settings_and_seed_give_equal_bytes(machines: Path, tmp_path: Path, trained: TrainingReport) -> None:
    again = train(config(machines, tmp_path / "machines.onnx"), SilentWatch())
    assert again.output.read_bytes() == trained.output.read_bytes()


def test_another_seed_gives_another_network(machines: Path, tmp_path: Path, trained: TrainingReport) -> None:
    other = train(config(machines, tmp_path / "machines.onnx", seed=1), SilentWatch())
    assert other.digest != trained.digest


class Fickle(nn.Module):
    """Computes something else once it is exported."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        raw, blame, expected = self.module(window)
        return (raw * 1.1 if torch.compiler.is_exporting() else raw), blame, expected


@dataclass
class FickleDetector:
    """One whose export goes wrong."""

    sound: UntrainedDetector
    family = "fickle"

    def fit(self, *windows: object, **rest: object) -> Fitted:
        fitted = self.sound.fit(*windows, **rest)
        return replace(fitted, module=Fickle(fitted.module))


def test_nothing_is_written_where_the_runtimes_disagree(machines: Path, tmp_path: Path) -> None:
    fickle = Family(make=lambda told, features: FickleDetector(FAMILIES["ae"].make(told, features)), knobs=KNOBS)
    families = {"ae": fickle}
    with pytest.raises(ParityError, match=r"batch size 1: output 'score' differs by 0\.\d+ where"):
        train(config(machines, tmp_path / "machines.onnx"), SilentWatch(), families=families)
    assert list(tmp_path.iterdir()) == []


def test_courses_that_repeat_exactly_are_learnt_though_nothing_but_rounding_is_left(tmp_path: Path) -> None:
    path = tmp_path / "saw.csv"
    courses = (np.arange(800) % 50 / 50)[:, None].repeat(2, axis=1)
    np.savetxt(path, courses, delimiter=",", header="a,b", comments="", fmt="%.17g")
    report = train(load_config(None, {"data": [path], "output": tmp_path / "saw.onnx", "epochs": 1}), SilentWatch())
    score = outputs(report.output, windows_of(courses.astype(np.float32), read_manifest(report.output).window))[SCORE]
    assert np.isfinite(score).all()


def test_events_that_are_one_number_are_scored_by_how_far_it_lies_from_those_seen(tmp_path: Path) -> None:
    path = tmp_path / "amounts.csv"
    np.savetxt(path, np.random.default_rng(0).normal(5, 1, 600), header="amount", comments="")
    told = {"data": [path], "output": tmp_path / "amounts.onnx", "kind": "tabular"}
    report = train(load_config(None, told), SilentWatch())
    score = outputs(report.output, np.array([5, 6, 20, -9], np.float32).reshape(4, 1, 1))[SCORE]
    assert (score[:2] < 1).all()
    assert (score[2:] > 1).all()


def test_of_a_large_file_only_some_windows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    pyarrow.parquet.write_table(machine_table(machines=2, rows=3000), path)
    report = train(config(path, tmp_path / "many.onnx", max_windows=1000, epochs=1), SilentWatch())
    assert report.rows == 6000
    assert 900 < sum(report.windows) <= 1000


def test_a_constant_feature_is_no_trouble_until_it_changes(tmp_path: Path) -> None:
    table = machine_table(machines=2, rows=600)
    path = tmp_path / "constant.parquet"
    pyarrow.parquet.write_table(table.set_column(2, "speed", pa.array([7.0] * len(table))), path)
    report = train(config(path, tmp_path / "constant.onnx"), SilentWatch())
    values = machine(200, seed=1)
    values[:, 0] = 7.0
    window = windows_of(values, 16)
    assert np.mean(outputs(report.output, window)[SCORE] > 1) < 0.05
    window[:, -1, 0] = 8.0
    assert (outputs(report.output, window)[SCORE] > 1).all()


def test_a_feature_without_any_value_is_refused_by_name(tmp_path: Path) -> None:
    table = machine_table(machines=2, rows=600)
    path = tmp_path / "empty.parquet"
    pyarrow.parquet.write_table(table.set_column(3, "current", pa.array([None] * len(table), pa.float64())), path)
    with pytest.raises(DataError, match="'current' has no value"):
        train(config(path, tmp_path / "empty.onnx"), SilentWatch())


def test_too_few_rows_are_refused_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "few.parquet"
    pyarrow.parquet.write_table(machine_table(machines=1, rows=120), path)
    with pytest.raises(
        DataError,
        match=r"Too few rows: 120 of one entity make 5 validation windows where 10 are needed; give about 290 rows\.$",
    ):
        train(config(path, tmp_path / "few.onnx"), SilentWatch())


def test_entities_shorter_than_the_window_count_from_the_least_length_on(tmp_path: Path) -> None:
    path = tmp_path / "short.parquet"
    pyarrow.parquet.write_table(machine_table(machines=60, rows=20), path)
    told = {"detector": "pca", "epochs": None, "window": 32}
    with pytest.raises(DataError, match=r"Too few rows: 1200 of 60 entities make 42 .* leave --min-length 20 out\.$"):
        train(config(path, tmp_path / "short.onnx", **told, min_length=20), SilentWatch())
    report = train(config(path, tmp_path / "short.onnx", **told), SilentWatch())
    assert report.windows == (42 * 5, 6 * 5, 12 * 5)  # from 16 rows on: five windows of each entity


def test_settings_that_fit_nothing_are_wrong_use(machines: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such family; give auto, ae, dae"):
        train(config(machines, tmp_path / "x.onnx", detector="oracle"), SilentWatch())
    with pytest.raises(UsageError, match="--max-gap needs --timestamp"):
        train(config(machines, tmp_path / "x.onnx", timestamp=None, max_gap=60), SilentWatch())
    with pytest.raises(UsageError, match=r"folder .* does not exist"):
        train(config(machines, tmp_path / "nowhere" / "x.onnx"), SilentWatch())


def test_progress_is_told_stage_by_stage(machines: Path, tmp_path: Path) -> None:
    watch = SilentWatch()
    train(config(machines, tmp_path / "x.onnx", epochs=6), watch)
    assert watch.stages == ["reading", "cutting windows", "preparing torch", "training", "calibrating", "exporting"]
    assert watch.epochs[-1][0] <= watch.epochs[-1][1] == 6


def test_a_time_that_was_taken_for_a_feature_is_remarked_on(machines: Path, tmp_path: Path) -> None:
    report = train(config(machines, tmp_path / "x.onnx", timestamp=None, epochs=1), SilentWatch())
    assert report.features == ("time", *FEATURES)
    assert [remark for remark in report.remarks if remark.startswith("time only rises")]
    assert not [remark for remark in report.remarks if remark.startswith("speed")]


def test_every_training_is_held_against_pca(trained: TrainingReport) -> None:
    told = read_manifest(trained.output).detector.hyperparameters
    assert told["validation_error"] == pytest.approx(trained.validation_error, abs=1e-6)
    assert 0 < told["pca_validation_error"] < 1


def test_a_detector_that_does_not_beat_pca_says_so(machines: Path, tmp_path: Path) -> None:
    report = train(config(machines, tmp_path / "hasty.onnx", epochs=1), SilentWatch())
    assert any("does not beat PCA" in remark for remark in report.remarks)
    console = Console(width=200, file=io.StringIO())
    print_manifest(read_manifest(report.output), console)
    told = " ".join(console.file.getvalue().split())
    assert "it does not beat PCA: held-back windows are rebuilt with an error of" in told
    assert "Rebuilding is not finding, though: which of the two finds more anomalies is told by anomaly-export" in told
