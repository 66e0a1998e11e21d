"""A small workshop: machines that turn, measured, and one artifact trained on them for all tests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from export.report import TrainingReport
from export.training import train
from export.training_config import TrainingConfig, load_config

START_MS = 1_700_000_000_000
STEP_MS = 60_000
FEATURES = ("speed", "current", "temperature")


@dataclass
class SilentWatch:
    """Remembers the stages and epochs it was told of."""

    stages: list[str] = field(default_factory=list)
    epochs: list[tuple[int, int, float]] = field(default_factory=list)
    trials: list[tuple[int, int, float]] = field(default_factory=list)
    done: list[tuple[int, int]] = field(default_factory=list)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def rows(self, done: int, total: int | None) -> None:
        assert total is None or done <= total

    def epoch(self, done: int, planned: int, error: float) -> None:
        self.epochs.append((done, planned, error))

    def trial(self, done: int, planned: int, error: float) -> None:
        self.trials.append((done, planned, error))

    def items(self, done: int, planned: int) -> None:
        self.done.append((done, planned))


def machine(rows: int, *, seed: int) -> np.ndarray:
    """(rows, 3) float32: three quantities that move together, and noise."""
    noise = np.random.default_rng(seed).normal(size=(rows, 3))
    phase = np.arange(rows) / 5 + seed
    turning = np.stack((np.sin(phase), np.cos(phase), np.sin(phase) + np.cos(phase / 3)), axis=1)
    return (turning * (10, 2, 5) + noise * (1, 0.2, 0.5) + (50, 8, 60)).astype(np.float32)


def machine_table(*, machines: int, rows: int) -> pa.Table:
    """The rows of some machines below each other, with a column of text besides."""
    values = np.concatenate([machine(rows, seed=seed) for seed in range(machines)])
    names = np.repeat([f"m{number}" for number in range(machines)], rows)
    times = np.tile(START_MS + STEP_MS * np.arange(rows), machines)
    columns = {name: values[:, place].astype(np.float64) for place, name in enumerate(FEATURES)}
    return pa.table({"machine": names, "time": times, **columns, "remark": ["fine"] * len(names)})


def config(data: Path, output: Path, **settings: object) -> TrainingConfig:
    """A small training."""
    told = {"entity": "machine", "timestamp": "time", "detector": "ae", "window": 16, "epochs": 60, **settings}
    return load_config(None, {"data": [data], "output": output, **told})


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three machines of 1,000 rows as CSV."""
    path = tmp_path_factory.mktemp("data") / "machines.csv"
    pyarrow.csv.write_csv(machine_table(machines=3, rows=1000), path)
    return path


@pytest.fixture(scope="session")
def trained(machines: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingReport:
    """The artifact for all tests that only look at it."""
    return train(config(machines, tmp_path_factory.mktemp("artifact") / "machines.onnx"), SilentWatch())


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a CSV file from its lines."""

    def write(*lines: str, name: str = "some.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
