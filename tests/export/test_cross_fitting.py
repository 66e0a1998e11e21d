"""Where events are few all of them train, and each is scored for the calibration by a detector without it."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from export.artifact import read_manifest
from export.calibration import fit_curve
from export.cross_fitting import FOLDS, joined, left_out_scores
from export.detector import Detector, Fitted, OnEpoch, raw_scores
from export.inspection import print_manifest
from export.recommendation import lets_all_train
from export.report import TrainingReport, print_report
from export.training import train
from export.training_config import load_config
from export.windows import Parts, Sample, Windows, cut
from schemas.artifact import SCORE
from tests.export.conftest import SilentWatch
from tests.export.test_training import outputs

NAMES = ("a", "b", "c")


def events(count: int, *, seed: int) -> NDArray[np.float32]:
    """(count, 3) of one kind."""
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def parts_of(rows: NDArray[np.float32], *, window: int = 1) -> Parts:
    """Of one entity's rows, the oldest first."""
    count = len(rows)
    sample = Sample(
        entity=np.zeros(count, dtype=np.int32),
        position=np.arange(count),
        event_time_ms=None,
        features=rows,
        scored=np.ones(count, dtype=np.bool_),
        rows_of_entity=np.array([count]),
    )
    return cut(sample, window=window, min_length=window, max_gap_ms=None)


class Nearest(nn.Module):
    """The raw score is the distance to the nearest event that was learnt: 0 for each of these."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (window - self.known[:, 0]).square().sum(dim=2).amin(dim=1).sqrt(), window.abs(), window


class NearestDetector:
    """Remembers by heart."""

    family = "nearest"

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        known = training.take(np.arange(len(training)))
        np.testing.assert_array_equal(training_rows, known[:, 0])
        on_epoch(1, 1, float(len(validation)))
        return Fitted(
            module=Nearest(torch.from_numpy(known)), hyperparameters={}, training_error=0.0, validation_error=0.0
        )


def test_all_but_the_validation_part_trains_and_calibrates_in_the_order_of_time() -> None:
    rows = events(100, seed=0)
    apart = parts_of(rows)
    together = joined(apart)
    expected = np.concatenate((rows[:70], rows[80:]))
    for windows in (together.training, together.calibration):
        np.testing.assert_array_equal(windows.take(np.arange(len(windows)))[:, 0], expected)
    np.testing.assert_array_equal(together.training_rows, expected)
    np.testing.assert_array_equal(together.validation.last, apart.validation.last)


def test_each_event_is_scored_by_a_detector_that_saw_neither_it_nor_its_neighbours() -> None:
    parts = joined(parts_of(events(90, seed=1)))
    rows = parts.training_rows
    expected = np.empty(len(rows))
    for fold in np.array_split(np.arange(len(rows)), FOLDS):
        rest = np.delete(rows, fold, axis=0)
        expected[fold] = np.linalg.norm(rows[fold, None] - rest[None], axis=2).min(axis=1)
    told: list[float] = []
    scores = left_out_scores(NearestDetector(), parts, lambda _done, _planned, error: told.append(error))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert told == [9.0] * FOLDS  # all stop by the same events


def test_as_many_alarms_as_promised_come_of_it() -> None:
    """On twelve draws: were the detector calibrated on what it knows, all that is new would be an alarm."""
    realised, by_heart = [], []
    unseen = parts_of(events(4000, seed=99)).training
    for seed in range(12):
        parts = joined(parts_of(events(90, seed=seed)))
        detector: Detector = NearestDetector()
        fitted = detector.fit(
            parts.training, parts.validation, training_rows=parts.training_rows, on_epoch=lambda *_: None
        )
        raw = raw_scores(fitted.module, unseen)
        scores = left_out_scores(detector, parts, lambda *_: None)
        realised.append(np.mean(raw > fit_curve(scores, alarm_rate=0.05).threshold))
        known = raw_scores(fitted.module, parts.calibration)
        by_heart.append(np.mean(raw > fit_curve(known, alarm_rate=0.05).threshold))
    assert 0.025 < np.mean(realised) < 0.07
    assert np.mean(by_heart) > 0.5


@pytest.mark.parametrize(
    ("rows", "window", "all_train"),
    [(80, 1, True), (245, 1, True), (250, 1, False), (2000, 1, False), (240, 2, False)],
)
def test_only_few_events_that_stand_alone_are_calibrated_so(rows: int, window: int, *, all_train: bool) -> None:
    assert lets_all_train(parts_of(events(rows, seed=0), window=window)) == all_train


def trained_on(count: int, folder: Path, name: str, **settings: object) -> TrainingReport:
    rows = events(count, seed=3)
    data = folder / f"{count}.parquet"
    pyarrow.parquet.write_table(pa.table(dict(zip(NAMES, rows.T, strict=True))), data)
    told = {"data": [data], "output": folder / f"{name}.onnx", "name": "few", "kind": "tabular", **settings}
    return train(load_config(None, {"detector": "prototypes", "alarm_rate": 0.05, **told}), SilentWatch())


def inspected(report: TrainingReport) -> str:
    console = Console(width=300, file=io.StringIO())
    print_manifest(read_manifest(report.output), console)
    print_report(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_file_knows_the_newest_events_too_and_says_how_it_was_calibrated(tmp_path: Path) -> None:
    report = trained_on(100, tmp_path, "few")
    assert (report.windows, report.folds) == ((90, 10, 90), FOLDS)
    score = outputs(report.output, events(100, seed=3)[:, None])[SCORE]
    assert score[80:].max() < 0.01
    assert score[70:80].max() > 0.2  # the validation part stayed unknown
    text = inspected(report)
    assert text.count("90 windows of the training, each scored by one of 5 other detectors, trained without it") == 2
    assert "calibration_folds" not in text


def test_where_events_are_many_a_part_is_held_back_as_ever(tmp_path: Path) -> None:
    report = trained_on(300, tmp_path, "many")
    assert (report.windows, report.folds) == ((210, 30, 60), 0)
    assert "60 held-back windows; raw score" in inspected(report)


def test_the_same_few_events_and_seed_give_the_same_file(tmp_path: Path) -> None:
    learnt = {"detector": "auto", "epochs": 2}
    one, two, other = (
        trained_on(80, tmp_path, name, seed=seed, **learnt) for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    assert one.digest == two.digest
    assert one.digest != other.digest
