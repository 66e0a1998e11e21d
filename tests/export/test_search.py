"""`train --search`: knobs are found by held-back data, the same again, and nothing that was tried is lost."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from torch import nn

from export.artifact import read_manifest
from export.cli import main
from export.errors import ExportError, UsageError
from export.families import FAMILIES, make_detector
from export.learning import Lessons
from export.reconstruction import Frame, ReconstructionModule, denoising_error
from export.report import TrainingReport
from export.search import Space, _knobs, study_path
from export.trade_off import trade_off
from export.training import train
from tests.export.conftest import FEATURES, SilentWatch, config
from tests.export.test_families import windows

Searched = Callable[..., TrainingReport]


@pytest.fixture
def searched(machines: Path, tmp_path: Path) -> Searched:
    """Trains one principal component, unless the search finds better, and as often as is asked for."""

    def train_once(trials: int, *, name: str = "found", **settings: object) -> TrainingReport:
        told = {"detector": "pca", "epochs": None, "search": trials, "name": "same", **settings}
        return train(config(machines, tmp_path / f"{name}.onnx", **told), SilentWatch())

    return train_once


def test_noise_is_removed_best_by_what_knows_what_is_normal() -> None:
    frame = Frame(window=8, mean=np.zeros(3, np.float32), scale=np.ones(3, np.float32))
    normal = windows(np.zeros((400, 3), np.float32))

    def error(network: nn.Module) -> float:
        return denoising_error(ReconstructionModule(network, frame, Lessons()), normal, noise=0.5)

    knowing = nn.Linear(24, 24)
    nn.init.zeros_(knowing.weight)
    nn.init.zeros_(knowing.bias)
    assert error(knowing) == 0.0
    # Scales log-uniform from 0.05 to 0.5: the mean square is (0.5^2 - 0.05^2) / (2 log 10).
    assert error(nn.Identity()) == pytest.approx(0.0537, rel=0.1)


def test_what_is_missing_is_no_error() -> None:
    frame = Frame(window=8, mean=np.zeros(3, np.float32), scale=np.ones(3, np.float32))
    rows = np.zeros((100, 3), np.float32)
    rows[::2, 1] = np.nan
    module = ReconstructionModule(nn.Identity(), frame, Lessons())
    assert 0 < denoising_error(module, windows(rows), noise=0.5) < 0.1
    assert denoising_error(module, windows(np.full((100, 3), np.nan, np.float32)), noise=0.5) == 0.0


def test_the_best_knobs_are_taken_and_told(searched: Searched) -> None:
    report = searched(6)
    search = report.search
    assert search is not None
    assert search.trials == 6
    assert search.error <= search.error_of_defaults
    told = read_manifest(report.output).detector.hyperparameters
    assert told["search"] == {
        "trials": 6,
        "error": round(search.error, 6),
        "error_of_defaults": round(search.error_of_defaults, 6),
    }
    assert trade_off(told) == [(size, round(error, 6)) for size, error in search.trade_off]
    assert len(search.trade_off) > 1
    lowest = min(search.trade_off, key=lambda point: point[1])
    assert told["bottleneck"] == lowest[0]
    assert search.error == lowest[1]


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(searched: Searched, tmp_path: Path) -> None:
    whole = searched(6, name="whole")
    searched(3, name="parts")
    torn = study_path(tmp_path / "parts.onnx")
    with torn.open("a", encoding="utf-8") as file:  # a trial that was begun and never ended
        begun = next(line for line in torn.read_text(encoding="utf-8").splitlines() if json.loads(line)["op_code"] == 4)
        file.write(begun + "\n")
    again = searched(6, name="parts")
    assert again.digest == whole.digest
    assert again.search is not None
    assert whole.search is not None
    assert again.search.trade_off == whole.search.trade_off


def test_trials_that_are_kept_are_not_done_again(machines: Path, tmp_path: Path) -> None:
    def trials(output: str, seed: int) -> list[int]:
        watch = SilentWatch()
        told = {"detector": "pca", "epochs": None, "search": 2, "seed": seed}
        train(config(machines, tmp_path / output, **told), watch)
        return [done for done, _, _ in watch.trials]

    assert trials("one.onnx", 0) == [1, 2]
    assert trials("one.onnx", 0) == []
    assert trials("one.onnx", 1) == [1, 2]  # another seed is another study in the same file


def test_a_knob_that_is_given_stays(searched: Searched) -> None:
    report = searched(2, detector="ae", bottleneck=4, epochs=1)
    assert report.search is not None
    assert report.search.trade_off == ()
    assert read_manifest(report.output).detector.hyperparameters["bottleneck"] == 4


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"auto"}))
@pytest.mark.parametrize(("features", "window"), [(1, 2), (1, 96), (40, 4), (3, 1)])
def test_every_proposal_makes_a_detector(family: str, features: int, window: int, tmp_path: Path) -> None:
    if window == 1 and family in {"conv-ae", "gru-ae"}:
        return
    names = [f"x{place}" for place in range(features)]
    told = config(Path("a.csv"), tmp_path / "a.onnx", detector=family, window=window, epochs=None, search=1)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        proposed = _knobs(study.ask(dict(Space.of(told, names, FAMILIES).ranges)).params)
        make_detector(told.model_copy(update=proposed), names, FAMILIES)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"detector": "auto", "epochs": None}, "--search turns the knobs of one family, and auto is of several"),
        ({"detector": "pca", "epochs": None, "bottleneck": 3}, "--search finds every knob of --detector pca turned"),
    ],
)
def test_a_search_without_knobs_is_refused(searched: Searched, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        searched(2, **settings)


def test_a_study_that_cannot_be_read_is_named(searched: Searched, tmp_path: Path) -> None:
    study_path(tmp_path / "found.onnx").write_text("this is no study\n")
    with pytest.raises(ExportError, match=r"found\.study\.jsonl cannot keep the study of --search .*: move it away"):
        searched(2)


def test_the_command_shows_the_trade_off(machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "m.onnx"
    words = f"train --data {machines} --entity machine --timestamp time --features {','.join(FEATURES)} --window 16"
    assert main([*words.split(), "--detector", "pca", "--search", "4", "--output", str(output)]) == 0
    told, warned = capsys.readouterr()
    assert "4 trials: " in told
    assert "bottleneck, error" in told
    assert "━━━" in told
    assert warned == ""  # the library's own log stays silent
    assert study_path(output).is_file()
