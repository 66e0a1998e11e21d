"""A threshold for each entity: where there is enough to know it by, and what it keeps of the promise."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from rich.console import Console

from export.artifact import read_manifest
from export.calibration import PValueCurve, fit_curve
from export.graph import Surprise
from export.inspection import print_manifest
from export.parity import runtime_session
from export.report import TrainingReport, thresholds_in_words
from export.thresholds import ENOUGH_ALARMS, own_curves
from export.training import train
from export.windows import Windows
from schemas.artifact import ENTITY, SCORE, WINDOW
from tests.export.conftest import FEATURES, SilentWatch, config, machine

W = 16
RATE = 0.1
ROWS = int(1.2 * 5 * W * ENOUGH_ALARMS / RATE)  # a fifth of them calibrates
NOISE = {"calm": 0.1, "restless": 1.0}
"""Standard deviations of two machines that are alike but for their noise."""


def rows_of(name: str, rows: int = ROWS, *, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed + len(name)).normal(0, NOISE[name], (rows, 3))
    return (machine(rows, seed=3) + noise * (10, 2, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("restless") / "machines.parquet"
    values = np.concatenate([rows_of(name) for name in NOISE])
    columns = {name: values[:, place].astype(np.float64) for place, name in enumerate(FEATURES)}
    pyarrow.parquet.write_table(pa.table({"machine": np.repeat(list(NOISE), ROWS), **columns}), path)
    return path


def trained_on(data: Path, output: Path, **settings: object) -> TrainingReport:
    told = {"timestamp": None, "detector": "pca", "epochs": None, "levels": "pooled", "alarm_rate": RATE, **settings}
    return train(config(data, output, **told), SilentWatch())


def alarms(path: Path, name: str, *, entity: int | None) -> float:
    """The share of new windows of a machine that score above 1."""
    windows = np.lib.stride_tricks.sliding_window_view(rows_of(name, 4000, seed=9), W, axis=0).transpose(0, 2, 1)
    inputs = {WINDOW: np.ascontiguousarray(windows)}
    if entity is not None:
        inputs[ENTITY] = np.full(len(windows), entity, np.int64)
    (score,) = runtime_session(path.read_bytes()).run([SCORE], inputs)
    return float(np.mean(score > 1))


def test_each_machine_keeps_to_the_alarm_rate_by_a_threshold_of_its_own(machines: Path, tmp_path: Path) -> None:
    report = trained_on(machines, tmp_path / "own.onnx")
    manifest = read_manifest(report.output)
    assert manifest.entities == list(NOISE)
    assert manifest.detector.hyperparameters["thresholds"] == 2
    assert any("each entity has held-back windows enough for a threshold of its own" in note for note in report.remarks)
    for place, name in enumerate(NOISE, start=1):
        assert 0.6 * RATE < alarms(report.output, name, entity=place) < 1.6 * RATE
    unknown = [alarms(report.output, name, entity=0) for name in NOISE]
    assert 0.6 * RATE < np.mean(unknown) < 1.6 * RATE, "of those of all"


def test_by_a_threshold_for_all_one_machine_never_alarms_and_the_other_too_often(
    machines: Path, tmp_path: Path
) -> None:
    report = trained_on(machines, tmp_path / "pooled.onnx", thresholds="pooled")
    assert read_manifest(report.output).entities == []
    assert alarms(report.output, "calm", entity=None) < 0.01
    assert alarms(report.output, "restless", entity=None) > 1.7 * RATE


def test_a_rarer_alarm_needs_more_windows(machines: Path, tmp_path: Path) -> None:
    report = trained_on(machines, tmp_path / "rare.onnx", alarm_rate=RATE / 2)
    assert read_manifest(report.output).entities == []


def test_levels_and_thresholds_go_together(machines: Path, tmp_path: Path) -> None:
    report = trained_on(machines, tmp_path / "both.onnx", levels="own")
    told = read_manifest(report.output).detector.hyperparameters
    assert (told["levels"]["entities"], told["thresholds"]) == (2, 2)
    for place, name in enumerate(NOISE, start=1):
        assert 0.6 * RATE < alarms(report.output, name, entity=place) < 1.6 * RATE
    console = Console(width=300, file=io.StringIO())
    print_manifest(read_manifest(report.output), console)
    lines = dict(line.split(maxsplit=1) for line in console.file.getvalue().splitlines()[:9])
    assert lines["entities"].startswith("known by name: calm, restless; any other is unknown to it")
    assert lines["levels"].startswith("each entity is judged at its own usual level and scale")
    assert lines["thresholds"].startswith("each entity has held-back windows enough")
    assert "levels" not in lines["family"]
    assert "thresholds" not in lines["family"]


def windows_at(last: np.ndarray) -> Windows:
    return Windows(
        rows=np.zeros((int(last.max()) + 1, 1), np.float32), last=last, length=np.full(len(last), W), window=W
    )


@pytest.mark.parametrize(("step", "needed"), [(1, W * 100), (W // 2, 200), (W, 100), (10 * W, 100)])
def test_windows_that_share_rows_count_for_less(step: int, needed: int) -> None:
    for count, enough in ((needed + W, True), (needed - W, False)):
        last = np.arange(count) * step
        raw = np.random.default_rng(0).exponential(1, count).astype(np.float32)
        found = own_curves(raw, windows_at(last), np.zeros(int(last.max()) + 1, np.int32), alarm_rate=RATE)
        assert bool(found) == enough, (count, step)


def test_an_entity_has_the_curve_of_its_own_scores() -> None:
    last, entity = np.arange(9000), np.repeat([0, 1, 2], 3000).astype(np.int32)
    raw = np.random.default_rng(0).exponential(1.0 + entity).astype(np.float32)
    found = own_curves(raw, windows_at(last), entity, alarm_rate=RATE)
    assert list(found) == [0, 1, 2]
    for one, curve in found.items():
        assert curve.threshold == fit_curve(raw[entity == one], alarm_rate=RATE).threshold


def test_each_score_is_held_to_its_own_curve_however_many_segments_the_others_have() -> None:
    chance = np.random.default_rng(0)
    curves: list[PValueCurve] = [
        fit_curve(scores.astype(np.float32), alarm_rate=0.01)
        for scores in (chance.exponential(1, 60), chance.exponential(3, 5000), np.repeat([1.0, 2.0], [900, 100]))
    ]
    assert len({len(curve.knots) for curve in curves}) == 3
    raw = torch.linspace(0, 1e4, 999)
    which = torch.arange(999) % 3
    together = Surprise(*curves)(raw, which)
    for place, curve in enumerate(curves):
        np.testing.assert_array_equal(together[place::3], Surprise(curve)(raw[place::3]))
    assert torch.isfinite(Surprise(*curves)(torch.full((3,), 3e38), torch.arange(3))).all()


def test_the_remark_tells_whom_it_is_about() -> None:
    assert thresholds_in_words(2, 3).startswith("2 of 3 entities have held-back windows enough")
